// SPDX-License-Identifier: GPL-2.0

//! Which features TDH.SYS.CONFIG is asked for.

use kernel::prelude::*;

#[kunit_tests(tdx_host_features)]
mod tests {
    use super::*;
    use crate::{
        check::Text,
        features::Features,
        random::Random, //
    };

    const TDX_CONNECT: u64 = 1 << 6;
    const EXT: u64 = 1 << 39;

    fn to_configure(offered: u64) -> u64 {
        Features::to_configure(Features::from_bits(offered)).bits()
    }

    #[test]
    fn choice_by_what_is_offered() -> Result {
        // Offered, configured.
        const TABLE: &[(u64, u64)] = &[
            (0, 0),
            (TDX_CONNECT, TDX_CONNECT),
            (!TDX_CONNECT, 0),
            (u64::MAX, TDX_CONNECT),
            (EXT, 0),
            (EXT | TDX_CONNECT, TDX_CONNECT),
            // TDX module 1.5.25: TD preserving, NO_RBP_MOD, UPDATE_COMPAT.
            (1 << 1 | 1 << 18 | 1 << 47, 0),
            (1 << 1 | 1 << 18 | 1 << 47 | TDX_CONNECT, TDX_CONNECT),
        ];
        for &(offered, wanted) in TABLE {
            let got = to_configure(offered);
            check!(
                got == wanted,
                "offered {offered:#x}: configured {got:#x}, not {wanted:#x}\n"
            );
        }
        Ok(())
    }

    #[test]
    fn each_bit_by_itself() -> Result {
        for bit in 0..64 {
            let offered = 1u64 << bit;
            let got = to_configure(offered);
            check!(
                got == offered & TDX_CONNECT,
                "offered bit {bit}: configured {got:#x}\n"
            );
        }
        Ok(())
    }

    #[test]
    fn never_more_than_offered_and_never_ext() -> Result {
        let mut random = Random::new(1);
        for _ in 0..1000 {
            let offered = random.next();
            let got = to_configure(offered);
            check!(
                got & !offered == 0,
                "offered {offered:#x}: configured {got:#x}\n"
            );
            check!(
                got & EXT == 0,
                "offered {offered:#x}: configured {got:#x}\n"
            );
            check!(
                got == offered & TDX_CONNECT,
                "offered {offered:#x}: configured {got:#x}\n"
            );
        }
        Ok(())
    }

    #[test]
    fn sets() {
        let all = Features::from_bits(u64::MAX);
        let connect = Features::TDX_CONNECT;

        assert!(Features::default().is_empty());
        assert!(!connect.is_empty());
        assert!(all.contains(connect));
        assert!(connect.contains(connect));
        assert!(connect.contains(Features::default()));
        assert!(!connect.contains(all));
        assert!(!Features::default().contains(connect));
        assert_eq!(connect.bits(), TDX_CONNECT);
        assert_eq!(Features::TD_PRESERVING.bits(), 1 << 1);
        assert_eq!(Features::UPDATE_COMPAT.bits(), 1 << 47);
    }

    #[test]
    fn text() -> Result {
        const TABLE: &[(u64, &str)] = &[
            (0, "0x0000000000000000"),
            (TDX_CONNECT, "0x0000000000000040 tdx-connect"),
            (
                1 << 1 | TDX_CONNECT | EXT | 1 << 47,
                "0x0000808000000042 td-preserving tdx-connect ext update-compat",
            ),
            // Bits without a name.
            (1 << 63 | 1 << 3, "0x8000000000000008"),
        ];
        for &(bits, wanted) in TABLE {
            let text = Text::of(Features::from_bits(bits));
            let got = text.as_str();
            check!(got == wanted, "\"{got}\", not \"{wanted}\"\n");
        }
        Ok(())
    }
}
