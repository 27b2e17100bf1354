# SPDX-License-Identifier: MIT
# Thin over Meson. `make help` lists what there is.
PREFIX ?= /usr/local
BUILD  ?= build
# mount(8) finds its helpers in /sbin alone; a prefix for oneself leaves the system alone.
HELPERDIR ?= $(if $(filter /usr /usr/local,$(PREFIX)),/sbin,$(PREFIX)/sbin)

.PHONY: help all deps demo check sim campaign campaign-sim campaign-crash campaign-memory bench bench-scale fuzz install clean

help:           ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

all: deps       ## build everything into build/
	@packaging/build.sh $(BUILD)

deps:           ## install what building and testing needs (Debian packages; asks for root)
	@packaging/install-deps.sh

demo: all       ## a volume, real programs on it, and the verdicts of e2fsck and the kernel
	@bench/demo.sh $(BUILD)

check: deps     ## every test that fits in some minutes; closes with N passed, N failed, N skipped
	@python3 tests/check.py

sim: all        ## replay one seed of the simulator: make sim SEED=7
	$(BUILD)/tests/sim/sim --seed $(or $(SEED),1) --verbose

campaign: campaign-sim campaign-crash campaign-memory ## all campaigns, hours: simulator, real programs, memory damage

campaign-sim: all ## ten thousand seeds of the simulator with power cuts (about an hour)
	$(BUILD)/tests/sim/sim --seeds $(or $(SEEDS),1-10000)

campaign-crash: all ## CASES (30000) runs of real programs, the server killed after every operation; continued where it was ended
	python3 tests/campaign/crash.py $(BUILD) --cases $(or $(CASES),30000) --jobs $(or $(JOBS),2) --results $(BUILD)/campaign-crash.jsonl --keep $(BUILD)/campaign-crash

campaign-memory: all ## FLIPS (3000) flipped bits in the server's memory, each classified; continued where it was ended
	python3 tests/campaign/memory.py $(BUILD) --flips $(or $(FLIPS),3000) --jobs $(or $(JOBS),2) --results $(BUILD)/campaign-memory.jsonl --keep $(BUILD)/campaign-memory

bench: all      ## drover beside ext4 and fuse2fs, protection on beside off, pauses; prints ratios
	@bench/bench.sh $(BUILD)

bench-scale: all ## what an operation costs as volumes, directories and files grow
	@python3 bench/scale.py $(BUILD)

fuzz: deps      ## fuzz every parser for FUZZ_SECONDS (60) each, under ASan and UBSan
	@tests/fuzz/run.sh $(or $(FUZZ_SECONDS),60)

install: all    ## install below PREFIX (/usr/local), and mount.drover into /sbin; DESTDIR is honoured
	meson configure $(BUILD) --prefix=$(abspath $(PREFIX)) -Dhelperdir=$(abspath $(HELPERDIR))
	DESTDIR=$(abspath $(DESTDIR)) meson install -C $(BUILD) --quiet

clean:          ## remove the build directories
	rm -rf build build-*
