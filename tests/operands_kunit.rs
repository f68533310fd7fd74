// SPDX-License-Identifier: GPL-2.0

//! The registers of every SEAMCALL that the driver makes.

use kernel::prelude::*;

#[kunit_tests(tdx_host_operands)]
mod tests {
    use super::*;
    use crate::{
        features::Features,
        operands::Call, //
    };

    /// RAX, RCX, RDX, R8, R9, R10, R11.
    type Registers = [u64; 7];

    fn registers(call: Call) -> Registers {
        [
            call.leaf.rax(),
            call.rcx,
            call.rdx,
            call.r8,
            call.r9,
            call.r10,
            call.r11,
        ]
    }

    const TDMRS: u64 = 0x1_2345_6600;
    const NR_TDMRS: u64 = 64;
    const KEYID: u64 = 32;
    const NONE: Features = Features::from_bits(0);
    const INFO: u64 = 0x1_2345_6700;
    const PARAMS: u64 = 0x1_2345_7000;
    const P_SEAMLDR: u64 = 1 << 63;

    /// `config_tdx_module()` in `arch/x86/virt/vmx/tdx/tdx.c` sets RCX, RDX and R8, in zeroed
    /// arguments, for leaf 45.
    #[test]
    fn config_without_features_is_mainlines() {
        assert_eq!(
            registers(Call::sys_config(TDMRS, NR_TDMRS, KEYID, NONE)),
            [45, TDMRS, NR_TDMRS, KEYID, 0, 0, 0]
        );
    }

    #[test]
    fn config_with_features_is_version_1_with_no_clock() {
        assert_eq!(
            registers(Call::sys_config(
                TDMRS,
                NR_TDMRS,
                KEYID,
                Features::TDX_CONNECT
            )),
            [45 | 1 << 16, TDMRS, NR_TDMRS, KEYID, 1 << 6, 0, 0]
        );
    }

    #[test]
    fn shutdown_always_avoids_sensitive_operations() -> Result {
        for hv in [0, 1, 2, 0x1234, u16::MAX] {
            let got = registers(Call::sys_shutdown(hv));
            let wanted = [52, u64::from(hv) | 1 << 16, 0, 0, 0, 0, 0];
            check!(got == wanted, "hv {hv}: {got:x?}, not {wanted:x?}\n");
        }
        Ok(())
    }

    #[test]
    fn update_is_given_what_config_was_given() {
        assert_eq!(registers(Call::sys_update(NONE)), [53, 0, 0, 0, 0, 0, 0]);
        assert_eq!(
            registers(Call::sys_update(Features::TDX_CONNECT)),
            [53 | 1 << 16, 0, 0, 0, 1 << 6, 0, 0]
        );
    }

    #[test]
    fn the_rest() -> Result {
        let table: [(&str, Call, Registers); 7] = [
            ("SYS.INIT", Call::sys_init(), [33, 0, 0, 0, 0, 0, 0]),
            ("SYS.LP.INIT", Call::sys_lp_init(), [35, 0, 0, 0, 0, 0, 0]),
            ("SYS.RD", Call::sys_rd(!1), [34, 0, !1, 0, 0, 0, 0]),
            (
                "SYS.KEY.CONFIG",
                Call::sys_key_config(),
                [31, 0, 0, 0, 0, 0, 0],
            ),
            (
                "SYS.TDMR.INIT",
                Call::sys_tdmr_init(1 << 30),
                [36, 1 << 30, 0, 0, 0, 0, 0],
            ),
            (
                "SEAMLDR.INFO",
                Call::seamldr_info(INFO),
                [P_SEAMLDR, INFO, 0, 0, 0, 0, 0],
            ),
            (
                "SEAMLDR.INSTALL",
                Call::seamldr_install(PARAMS),
                [P_SEAMLDR | 1, PARAMS, 0, 0, 0, 0, 0],
            ),
        ];
        for (name, call, wanted) in table {
            let got = registers(call);
            check!(got == wanted, "{name}: {got:x?}, not {wanted:x?}\n");
        }
        Ok(())
    }
}
