// SPDX-License-Identifier: GPL-2.0

//! The plugin's arguments: `-plugin libtdxsim_plugin.so,KEY=VALUE,…`.
//!
//! Two are the plugin's own. `sockets=N` says over how many packages QEMU spreads the vCPUs, as `-smp`
//! does; QEMU tells a plugin only how many vCPUs there are. `watch=NAME@ADDRESS` sets the mark NAME
//! whenever a vCPU comes to this address of the guest's kernel, such as a function's. All others
//! are the model's; see [`tdxsim::config`].

use tdxsim::SimConfig;

/// What the arguments say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    sockets: usize,
    vcpus: usize,
    /// Names and addresses of places that are watched.
    places: Vec<(String, u64)>,
    /// `KEY=VALUE`, for the model.
    model: Vec<String>,
}

impl Arguments {
    /// Reads the arguments for a machine with so many vCPUs.
    pub fn parse(arguments: &[String], vcpus: usize) -> Result<Arguments, String> {
        let mut parsed = Arguments {
            sockets: 1,
            vcpus,
            places: Vec::new(),
            model: Vec::new(),
        };
        for argument in arguments {
            match argument.split_once('=') {
                Some(("sockets", value)) => {
                    parsed.sockets = value
                        .parse()
                        .ok()
                        .filter(|sockets| *sockets > 0 && vcpus % sockets == 0)
                        .ok_or_else(|| {
                            format!(
                                "{argument}: {vcpus} vCPUs cannot be spread evenly over so many"
                            )
                        })?;
                }
                Some(("watch", value)) => {
                    let place = place(value).ok_or_else(|| {
                        format!(
                            "{argument}: takes NAME@ADDRESS, with an address of the guest's kernel"
                        )
                    })?;
                    parsed.places.push(place);
                }
                _ => parsed.model.push(argument.clone()),
            }
        }
        Ok(parsed)
    }

    /// The number of the watched place at this address.
    pub fn place(&self, address: u64) -> Option<usize> {
        self.places.iter().position(|(_, place)| *place == address)
    }

    /// The name of the watched place with this number.
    pub fn place_name(&self, number: usize) -> Option<&str> {
        self.places.get(number).map(|(name, _)| name.as_str())
    }

    /// The package of every vCPU: QEMU numbers vCPUs package by package.
    fn packages(&self) -> Vec<usize> {
        let cores = self.vcpus / self.sockets;
        (0..self.vcpus).map(|vcpu| vcpu / cores).collect()
    }

    /// The model's configuration for a machine with so many bytes of RAM, unless arguments say
    /// something else about memory.
    pub fn config(&self, ram: u64) -> Result<SimConfig, String> {
        let mut arguments = vec![format!("mem={ram}")];
        arguments.extend_from_slice(&self.model);
        SimConfig::from_args(self.packages(), &arguments)
    }
}

/// Reads `NAME@ADDRESS`.
fn place(text: &str) -> Option<(String, u64)> {
    let (name, address) = text.split_once('@')?;
    let digits = address.strip_prefix("0x").unwrap_or(address);
    let address = u64::from_str_radix(digits, 16).ok()?;
    (!name.is_empty() && address >> 63 != 0).then(|| (name.to_owned(), address))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn parse(arguments: &[&str], vcpus: usize) -> Result<Arguments, String> {
        let arguments: Vec<_> = arguments
            .iter()
            .map(|argument| (*argument).to_owned())
            .collect();
        Arguments::parse(&arguments, vcpus)
    }

    #[test]
    fn vcpus_are_spread_over_packages_in_order() {
        let packages = |arguments: &[&str], vcpus| {
            parse(arguments, vcpus)
                .unwrap()
                .config(GIB)
                .unwrap()
                .packages
        };
        assert_eq!(packages(&["sockets=2"], 8), [0, 0, 0, 0, 1, 1, 1, 1]);
        assert_eq!(packages(&[], 2), [0, 0]);
    }

    #[test]
    fn the_machines_memory_counts_unless_an_argument_says_otherwise() {
        let end = |arguments: &[&str]| {
            let config = parse(arguments, 1).unwrap().config(GIB).unwrap();
            config.convertible.last().unwrap().end()
        };
        assert_eq!(end(&[]), GIB);
        assert_eq!(end(&["mem=2G"]), 2 * GIB);
        assert_eq!(end(&["cmr=1M-16M"]), 16 << 20);
    }

    #[test]
    fn what_is_not_the_plugins_is_the_models() {
        let config = parse(&["tdx_keyids=4"], 1).unwrap().config(GIB).unwrap();
        assert_eq!(config.platform.tdx_keyids, 4);
        let error = parse(&["nonsense=4"], 1).unwrap().config(GIB).unwrap_err();
        assert!(error.starts_with("nonsense: "), "{error}");
    }

    #[test]
    fn places_have_a_name_and_an_address() {
        let arguments = [
            "watch=sha384@0xffffffff81000010",
            "watch=stop@ffffffff81000020",
        ];
        let parsed = parse(&arguments, 1).unwrap();
        assert_eq!(parsed.place(0xffff_ffff_8100_0020), Some(1));
        assert_eq!(parsed.place(0xffff_ffff_8100_0021), None);
        assert_eq!(parsed.place_name(0), Some("sha384"));
        assert_eq!(parsed.place_name(2), None);
        for value in [
            "",
            "a",
            "@ffffffff81000000",
            "a@",
            "a@1000",
            "a@x",
            "a@1ffffffff81000000",
        ] {
            let error = parse(&[&format!("watch={value}")], 1).unwrap_err();
            assert!(error.contains("takes NAME@ADDRESS"), "{error}");
        }
    }

    #[test]
    fn sockets_must_fit() {
        for value in ["0", "3", "x", "-1", ""] {
            let error = parse(&[&format!("sockets={value}")], 8).unwrap_err();
            assert!(
                error.starts_with(&format!("sockets={value}: 8 vCPUs")),
                "{error}"
            );
        }
    }
}
