# SPDX-License-Identifier: GPL-2.0
#
# For people; kbuild reads Kbuild. See "make help".

KDIR ?= /lib/modules/$(shell uname -r)/build
KERNEL ?= patched
vm := tools/testing/vm

# Where tdxctl is built and where it goes. Without a cargo of 1.85 or newer on this
# machine it is the build root's, which links statically so that the program runs here too.
TOOLS ?= $(CURDIR)/tools/target
PREFIX ?= /usr/local
CARGO ?= $(if $(cargo_is_new),cargo,$(static_cargo))
cargo_is_new = $(shell cargo --version 2>/dev/null | awk '{ split($$2, v, "."); if (v[1] > 1 || v[2] >= 85) print 1 }')
static_cargo = $(vm)/in-root env RUSTFLAGS='-C target-feature=+crt-static' cargo
triple := x86_64-unknown-linux-gnu
tdxctl = $(TOOLS)/$(triple)/release/tdxctl

# In a kernel built with O=, source is a link to where it was built from.
source = $(firstword $(realpath $(KDIR)/source) $(KDIR))

TIME ?= 600

# What the kernel was configured with.
config = $(file <$(KDIR)/include/config/auto.conf)
kbuild = @$(MAKE) -C $(KDIR) M=$(CURDIR) $(if $(MO),MO=$(MO))

.PHONY: modules modules_install tools install-tools demo check bench pictures lint fuzz vm kernel driver root clean distclean help

modules:
	$(if $(wildcard $(KDIR)/Makefile),,\
		$(error there is no kernel build tree at $(KDIR): set KDIR to one))
	$(if $(wildcard $(source)/arch/x86/include/asm/tdx_host.h),,\
		$(error the kernel at $(KDIR) was built without patches/series: apply that series to Linux 7.3 and rebuild))
	$(foreach option,RUST INTEL_TDX_HOST_DRIVER,$(if $(filter CONFIG_$(option)=y,$(config)),,\
		$(error the kernel at $(KDIR) was built without CONFIG_$(option)=y)))
	$(kbuild) modules

modules_install:
	$(if $(wildcard $(or $(MO),.)/tdx-host.ko),,$(error there is no tdx-host.ko to install: run "make" first))
	$(kbuild) modules_install

tools:
	@echo 'with $(CARGO)'
	@$(CARGO) build --manifest-path tools/Cargo.toml --locked --release --quiet \
		--package tdxctl --target $(triple) --target-dir $(TOOLS)
	@echo $(tdxctl)

install-tools:
	$(if $(wildcard $(tdxctl)),,$(error there is no tdxctl to install: run "make tools" first))
	install -D -m 755 $(tdxctl) $(DESTDIR)$(PREFIX)/sbin/tdxctl
	install -D -m 644 tools/modprobe.d/tdx-host.conf $(DESTDIR)$(PREFIX)/lib/modprobe.d/tdx-host.conf
	@install -d $(DESTDIR)$(PREFIX)/share/man/man8 \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions \
		$(DESTDIR)$(PREFIX)/share/zsh/site-functions \
		$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
	$(tdxctl) generate man >$(DESTDIR)$(PREFIX)/share/man/man8/tdxctl.8
	$(tdxctl) generate completions bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/tdxctl
	$(tdxctl) generate completions zsh >$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_tdxctl
	$(tdxctl) generate completions fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/tdxctl.fish

demo check bench pictures:
	@$(vm)/$@

lint:
	@TESTS=lint $(vm)/check

fuzz:
	@$(vm)/fuzz $(TIME)

vm:
	@$(vm)/run --kernel $(KERNEL) --shell $(VM)

kernel:
	@$(vm)/kernel $(KERNEL)

driver:
	@$(vm)/driver $(KERNEL)

root:
	@$(vm)/buildroot

clean distclean:
	@$(vm)/clean $@

help:
	@echo 'make              build tdx-host.ko for the kernel at KDIR, and nothing else'
	@echo 'make modules_install  install it for that kernel, where modprobe finds it'
	@echo 'make tools        build tdxctl, which looks at a TDX host and updates its TDX module'
	@echo 'make install-tools  install it, its man page, completions for shells and modprobe.d/tdx-host.conf'
	@echo 'make demo         boot a simulated TDX host and show what the driver does'
	@echo 'make check        run the tests (SPEED=slow: also what takes long)'
	@echo 'make lint         run only the checkers of style and documentation'
	@echo 'make fuzz         fuzz the image parser and the preflight for TIME seconds ($(TIME))'
	@echo 'make bench        measure the driver and the C driver (bench.json)'
	@echo 'make pictures     draw the timelines in the documentation anew'
	@echo 'make vm           a shell in a simulated TDX host; leaving it switches it off'
	@echo 'make driver       build tdx-host.ko for the kernel of the simulated host'
	@echo 'make kernel       build the kernel of the simulated host'
	@echo 'make root         make the build root that all of this is built in'
	@echo 'make clean        remove what was built from this folder'
	@echo 'make distclean    remove the whole cache, build root and kernels included'
	@echo
	@echo 'KDIR=FOLDER            a kernel tree with patches/series, built with CONFIG_RUST=y'
	@echo '                       and CONFIG_INTEL_TDX_HOST_DRIVER=y'
	@echo '                       ($(KDIR))'
	@echo 'PREFIX=FOLDER          install-tools ($(PREFIX)); DESTDIR is put before it'
	@echo 'CARGO=COMMAND          tools: another cargo than that of this machine, or, if it has'
	@echo '                       none of 1.85 or newer, of the build root'
	@echo 'KERNEL=debug           check, vm, kernel, driver: KASAN, lockdep, kmemleak'
	@echo 'SPEED=slow             check: also what takes long, such as the fault matrices'
	@echo 'SPEED=thorough         check: and every case of the faults that lose TDX, 64 CPUs, each patch, speed beside mainline'
	@echo 'TESTS="PATTERN..."     check: only these, as in TESTS="kunit selftests/load*"'
	@echo 'JOBS=N                 check: so many at a time (2; 3 where SPEED=quick)'
	@echo 'VM="OPTION..."         vm: options of tools/testing/vm/run'
	@echo 'TDX_HOST_CACHE=FOLDER  where build root, kernels and objects are kept'
	@echo '                       ($${XDG_CACHE_HOME:-~/.cache}/tdx-host)'
	@echo 'TDX_HOST_MIRROR=URL    where Debian packages come from'
