# SPDX-License-Identifier: Apache-2.0
# A thin face of meson. `make run` and `make test` each work as the first command on a fresh Debian 12.
BUILD ?= build
.PHONY: all deps everything run test test-long test-asan test-tsan bench lint fuzz install clean

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD) --quiet weir weir_protobuf.so

everything: $(BUILD)/build.ninja
	@ninja -C $(BUILD) --quiet

$(BUILD)/build.ninja: | deps
	@meson setup $(BUILD) --buildtype=release -Ddebug=true >/dev/null

deps:
	@tools/deps build

run: all
	@tools/deps run
	@tools/run $(BUILD)

test:
	@tools/deps test
	@$(MAKE) --no-print-directory everything
	@tools/test $(BUILD)

test-asan:
	@tools/deps test
	@tools/test-sanitized address

test-tsan:
	@tools/deps test
	@tools/test-sanitized thread

test-long:
	@tools/deps long
	@$(MAKE) --no-print-directory everything
	@tools/test-long $(BUILD)

fuzz:
	@tools/deps fuzz
	@tools/fuzz

bench:
	@tools/deps bench
	@$(MAKE) --no-print-directory all
	@WEIR="$(abspath $(BUILD))/weir" BENCH_OUT="$(abspath $(BUILD))/bench.json" python3 bench/run.py

lint:
	@tools/deps lint
	@tools/lint $(LINT_ARGS)

install: all
	@meson install -C $(BUILD) --no-rebuild $(if $(DESTDIR),--destdir "$(abspath $(DESTDIR))")

clean:
	@rm -rf $(BUILD) build-asan build-tsan build-fuzz build-lint
