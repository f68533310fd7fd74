// SPDX-License-Identifier: GPL-2.0

//! What a completion status means, and what it is called.

use kernel::prelude::*;

#[kunit_tests(tdx_host_status)]
mod tests {
    use super::*;
    use crate::{
        check::Text,
        status::{
            Failure,
            Leaf,
            Status, //
        }, //
    };

    const MODULE: Leaf = Leaf::SYS_CONFIG;
    const P_SEAMLDR: Leaf = Leaf::SEAMLDR_INSTALL;

    #[test]
    fn names() -> Result {
        const TABLE: &[(Leaf, u64, &str)] = &[
            (MODULE, 0x8000_FF00_FFFF_0000, "VMfailInvalid"),
            (P_SEAMLDR, 0x8000_FF00_FFFF_0000, "VMfailInvalid"),
            (MODULE, 0x8000_FF00_0000_000D, "#GP"),
            (MODULE, 0x8000_FF00_0000_0006, "#UD"),
            (MODULE, 0x8000_0202_0000_0000, "SYS_BUSY"),
            (MODULE, 0x8000_0200_0000_00BB, "OPERAND_BUSY"),
            (MODULE, 0x8000_0512_0003_0000, "UPDATE_COMPAT_SENSITIVE"),
            (MODULE, 0xC000_0100_0000_000B, "OPERAND_INVALID"),
            (MODULE, 0xC000_050A_0000_0000, "SYS_INCOMPATIBLE_SIGSTRUCT"),
            (MODULE, 0xC000_0A11_0000_0102, "PAMT_OUTSIDE_CMRS"),
            (MODULE, 0x1234_5678_0000_0000, "unknown"),
            // The codes of the two targets must not be taken for each other.
            (P_SEAMLDR, 0x8000_0000_0000_0000, "EBADPARAM"),
            (MODULE, 0x8000_0000_0000_0000, "unknown"),
            (P_SEAMLDR, 0x8000_0000_0000_0003, "EBADCALL"),
            (P_SEAMLDR, 0x8000_0000_0000_0004, "EBADHANDOFF"),
            (P_SEAMLDR, 0x8000_0000_0000_0006, "EUNSUPPORTED"),
            (P_SEAMLDR, 0x8000_0000_0001_0002, "ENOMEM"),
            (P_SEAMLDR, 0x8000_0000_0001_0004, "EUNSUPCPU"),
            (P_SEAMLDR, 0x8000_0000_0002_0000, "EBADSIG"),
            (P_SEAMLDR, 0x8000_0000_0002_0001, "EBADHASH"),
            (P_SEAMLDR, 0x8000_0000_0003_0001, "ENOENTROPY"),
            (P_SEAMLDR, 0x8000_0000_0009_0009, "unknown"),
        ];
        for &(leaf, status, wanted) in TABLE {
            let got = Failure {
                leaf,
                status: Status::new(status),
            }
            .status_name();
            check!(got == wanted, "{status:#x}: \"{got}\", not \"{wanted}\"\n");
        }
        Ok(())
    }

    #[test]
    fn failures_as_text() -> Result {
        const TABLE: &[(Leaf, u64, &str)] = &[
            (
                Leaf::SYS_CONFIG.version(1),
                0xC000_0100_0000_000B,
                "TDH.SYS.CONFIG: OPERAND_INVALID R11 (0xc00001000000000b)",
            ),
            (
                Leaf::SYS_CONFIG.version(1),
                0xC000_0100_0000_0000,
                "TDH.SYS.CONFIG: OPERAND_INVALID RAX (0xc000010000000000)",
            ),
            (
                Leaf::SYS_SHUTDOWN,
                0xC000_0100_0000_0001,
                "TDH.SYS.SHUTDOWN: OPERAND_INVALID RCX (0xc000010000000001)",
            ),
            (
                Leaf::SYS_SHUTDOWN,
                0x8000_0512_0002_0000,
                "TDH.SYS.SHUTDOWN: UPDATE_COMPAT_SENSITIVE (0x8000051200020000)",
            ),
            (
                Leaf::SEAMLDR_INSTALL,
                0x8000_0000_0002_0001,
                "SEAMLDR.INSTALL: EBADHASH (0x8000000000020001)",
            ),
        ];
        for &(leaf, status, wanted) in TABLE {
            let text = Text::of(Failure {
                leaf,
                status: Status::new(status),
            });
            let got = text.as_str();
            check!(got == wanted, "\"{got}\", not \"{wanted}\"\n");
        }
        Ok(())
    }

    #[test]
    fn leaves() -> Result {
        const TABLE: &[(Leaf, u64, &str)] = &[
            (Leaf::SYS_KEY_CONFIG, 31, "TDH.SYS.KEY.CONFIG"),
            (Leaf::SYS_INIT, 33, "TDH.SYS.INIT"),
            (Leaf::SYS_RD, 34, "TDH.SYS.RD"),
            (Leaf::SYS_LP_INIT, 35, "TDH.SYS.LP.INIT"),
            (Leaf::SYS_TDMR_INIT, 36, "TDH.SYS.TDMR.INIT"),
            (Leaf::SYS_CONFIG, 45, "TDH.SYS.CONFIG"),
            (Leaf::SYS_CONFIG.version(1), 0x1_002D, "TDH.SYS.CONFIG"),
            (Leaf::SYS_SHUTDOWN, 52, "TDH.SYS.SHUTDOWN"),
            (Leaf::SYS_UPDATE, 53, "TDH.SYS.UPDATE"),
            (Leaf::SYS_UPDATE.version(1), 0x1_0035, "TDH.SYS.UPDATE"),
            (Leaf::SEAMLDR_INFO, 1 << 63, "SEAMLDR.INFO"),
            (Leaf::SEAMLDR_INSTALL, 1 << 63 | 1, "SEAMLDR.INSTALL"),
        ];
        for &(leaf, rax, wanted) in TABLE {
            let name = leaf.name();
            check!(leaf.rax() == rax, "{wanted}: RAX {:#x}\n", leaf.rax());
            check!(name == wanted, "{rax:#x}: \"{name}\", not \"{wanted}\"\n");
            check!(
                Leaf::from_rax(rax) == leaf,
                "{wanted}: not the same from RAX\n"
            );
        }
        Ok(())
    }

    /// Statuses, and whether the same call may succeed when it is made again.
    const TRANSIENT: &[(u64, bool)] = &[
        (0, false),
        (0x8000_FF00_FFFF_0000, false),
        (0x8000_FF00_0000_000D, false),
        (0x8000_FF00_0000_0006, false),
        (0x8000_0200_0000_0000, true),
        (0x8000_0200_0000_00BB, true),
        (0x8000_0202_0000_0000, true),
        (0x8000_0203_0000_0000, true),
        (0x8000_0800_0000_0000, true),
        // This one is for user space to wait for.
        (0x8000_0512_0001_0000, false),
        (0x0000_0815_0000_0000, false),
        (0xC000_0100_0000_0000, false),
        (0xC000_0100_0000_0001, false),
        (0xC000_0500_0000_0000, false),
        (0xC000_0509_0000_0000, false),
        (0xC000_050A_0000_0000, false),
        (0xC000_050C_0000_0000, false),
    ];

    /// The same for P-SEAMLDR's.
    const TRANSIENT_INSTALL: &[(u64, bool)] = &[
        (0x8000_0000_0000_0000, false),
        (0x8000_0000_0000_0003, false),
        (0x8000_0000_0000_0004, false),
        (0x8000_0000_0000_0005, false),
        (0x8000_0000_0000_0006, false),
        (0x8000_0000_0001_0002, true),
        (0x8000_0000_0001_0003, false),
        (0x8000_0000_0001_0004, false),
        (0x8000_0000_0002_0000, false),
        (0x8000_0000_0002_0001, false),
        (0x8000_0000_0003_0000, true),
        (0x8000_0000_0003_0001, true),
    ];

    #[test]
    fn transient() -> Result {
        for &(status, wanted) in [TRANSIENT, TRANSIENT_INSTALL].into_iter().flatten() {
            let got = Status::new(status).is_transient();
            check!(got == wanted, "{status:#x}: transient: {got}\n");
        }
        Ok(())
    }

    #[test]
    fn transient_install() -> Result {
        for &(status, wanted) in TRANSIENT_INSTALL {
            let got = Status::new(status).is_transient_install();
            check!(got == wanted, "{status:#x}: transient: {got}\n");
        }
        // The TDX module's are not P-SEAMLDR's.
        for &(status, _) in TRANSIENT {
            check!(
                !Status::new(status).is_transient_install(),
                "{status:#x}: transient for P-SEAMLDR\n"
            );
        }
        Ok(())
    }

    #[test]
    fn invalid_operand() -> Result {
        // Status; the operand; whether version 1 of TDH.SYS.CONFIG brought it.
        const TABLE: &[(u64, Option<(&str, bool)>)] = &[
            (0, None),
            (0xC000_0100_0000_0000, Some(("RAX", true))),
            (0xC000_0100_0000_0001, Some(("RCX", false))),
            (0xC000_0100_0000_0002, Some(("RDX", false))),
            (0xC000_0100_0000_0008, Some(("R8", false))),
            (0xC000_0100_0000_0009, Some(("R9", true))),
            (0xC000_0100_0000_000A, Some(("R10", true))),
            (0xC000_0100_0000_000B, Some(("R11", true))),
            (0xC000_0100_0000_0040, Some(("64", false))),
            (0xC000_0101_0000_0009, None),
            (0x8000_0200_0000_0009, None),
        ];
        for &(status, wanted) in TABLE {
            match (Status::new(status).invalid_operand(), wanted) {
                (None, None) => (),
                (Some(got), Some((name, is_of_version_1))) => {
                    let text = Text::of(got);
                    check!(text.as_str() == name, "{status:#x}: {}\n", text.as_str());
                    check!(
                        got.is_of_version_1() == is_of_version_1,
                        "{status:#x}: of version 1: {}\n",
                        !is_of_version_1
                    );
                }
                (got, _) => check!(false, "{status:#x}: an operand: {}\n", got.is_some()),
            }
        }
        Ok(())
    }

    #[test]
    fn unknown_version() {
        for operand in [0, 9, 10, 11] {
            assert!(Status::new(0xC000_0100_0000_0000 | operand).is_of_version_1());
        }
        for operand in [1, 2, 8, 12] {
            assert!(!Status::new(0xC000_0100_0000_0000 | operand).is_of_version_1());
        }
        assert!(!Status::new(0xC000_0101_0000_0000).is_of_version_1());
        assert!(!Status::SUCCESS.is_of_version_1());
    }

    #[test]
    fn code_and_details() {
        let status = Status::new(0x8000_0512_0003_0001);

        assert_eq!(status.code().raw(), 0x8000_0512_0000_0000);
        assert_eq!(status.details(), 0x0003_0001);
        assert!(status.is(Status::UPDATE_COMPAT_SENSITIVE));
        assert!(!status.is(Status::SYS_BUSY));
        assert!(status != Status::UPDATE_COMPAT_SENSITIVE);
    }
}
