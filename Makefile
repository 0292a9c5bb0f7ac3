# make test: everything. make check: the checks that need no root.
# make lock: write the pins again; make lock UPGRADE=--upgrade takes newer versions.
# make deb, make wheel: the packages, into dist/; without a network after `make wheels`.
# make unfixed: take each fix of docs/known-attacks.md out and see its tests fail; as root, 20 minutes.
# make releases: the package, install.sh and a playbook on Debian 13 and Ubuntu 24.04, in containers; as root.
# make e2e: the whole product on machines that boot; as root, see tests/e2e. One file of scenarios:
# make e2e-guest E2E="enrolment programs". make e2e-parts: the kernel and the image, before anything asks.
# make greeter: gdm on a screen in qemu, with pictures in build/e2e/greeter; as root, half an hour.
# make peers: howdy and linux-face-unlock beside ours there, and the README's table; as root, hours.
# make fuzz SECONDS=3600: new hostile input for each parser in turn; see docs/fuzzing.md.
SECONDS ?= 60
PYTHON ?= .venv/bin/python
BIN := $(dir $(PYTHON))
SHELL_FILES := install.sh test.sh .ci/run etc/faceid-admin native/build.sh \
	pam_faceid/adapters/pam_undo.sh \
	packaging/again.sh packaging/copy.sh packaging/fetch.sh packaging/trim.sh packaging/wheel.sh \
	debian/build.sh debian/environment.sh debian/pam-faceid.preinst debian/pam-faceid.postinst \
	debian/pam-faceid.prerm debian/pam-faceid.postrm \
	tests/e2e/bed/kernel.sh tests/e2e/bed/image.sh tests/e2e/greeter/image.sh benchmarks/peers/wheels.sh
# The scenarios, in order: each file goes on with the guest that the ones before it leave; and beside
# them those on machines of their own.
E2E := enrolment apparmor programs desktop seats denials faults
E2E_OWN := container package
E2E_CACHE ?= $(CURDIR)/build/e2e
LOCK := $(BIN)uv pip compile $(UPGRADE) --no-config --universal --python-version 3.10 \
	--only-binary :all: --generate-hashes --no-annotate --no-emit-index-url --quiet \
	--custom-compile-command "make lock"

.PHONY: test check lint types layers shell manuals clean-text lock sbom unfixed fuzz fuzz-native portraits \
	wheels deb wheel e2e e2e-parts e2e-guest e2e-own greeter peers releases

test:
	./test.sh

check: lint types layers shell manuals clean-text

lint:
	$(BIN)ruff check --no-cache .
	$(BIN)ruff format --check .

types:
	$(BIN)mypy

layers:
	$(BIN)lint-imports --no-cache

shell:
	shellcheck $(SHELL_FILES)

manuals:
	mandoc -T lint -W warning docs/man/*.[158]

# What belongs to the machine of whoever wrote a line does not belong in the repository.
clean-text:
	$(BIN)pytest -q tests/unit/test_repository_text.py

lock:
	$(PYTHON) -m pip install --quiet uv
	$(LOCK) pyproject.toml --output-file requirements/install.txt
	$(LOCK) pyproject.toml --extra report \
		--constraint requirements/install.txt --output-file requirements/report.txt
	$(LOCK) pyproject.toml onnx_models/requirements.txt \
		--extra report --extra test --extra check --extra build \
		--constraint requirements/report.txt --output-file requirements/test.txt
	printf 'setuptools\n' | $(LOCK) - \
		--constraint requirements/test.txt --output-file requirements/build.txt
	$(PYTHON) requirements/sbom.py

sbom:
	$(PYTHON) requirements/sbom.py

wheels:
	packaging/fetch.sh build/wheels

deb: wheels
	debian/build.sh build/wheels dist

wheel: wheels
	packaging/wheel.sh build/wheels dist

unfixed:
	$(PYTHON) -m tests.unfixed

e2e:
	$(MAKE) --no-print-directory --jobs=2 --keep-going --output-sync=target e2e-guest e2e-own

e2e-parts:
	mkdir -p $(E2E_CACHE)
	for part in image.sh kernel.sh; do \
		flock $(E2E_CACHE)/$$part.lock tests/e2e/bed/$$part $(E2E_CACHE) || exit 1; done

e2e-guest:
	$(BIN)pytest -s -o junit_family=xunit1 --junitxml=build/e2e/guest.xml $(E2E:%=tests/e2e/bed/%.py)

e2e-own:
	$(BIN)pytest -s -o junit_family=xunit1 --junitxml=build/e2e/own.xml $(E2E_OWN:%=tests/e2e/bed/%.py)

greeter:
	$(BIN)pytest -s tests/e2e/greeter/greeter.py

peers:
	$(PYTHON) -m benchmarks.peers
	$(PYTHON) -m benchmarks.peers.table --write

# Each in a process of its own: a machine is made of one tree.
releases:
	for release in trixie noble; do RELEASE=$$release $(BIN)pytest -s tests/packages/installing.py \
		tests/packages/unattended.py tests/packages/test_package.py || exit 1; done

fuzz:
	FUZZ_SECONDS=$(SECONDS) $(BIN)pytest -q tests/fuzz

portraits:
	$(PYTHON) -m pam_faceid.demo.remake_portraits pam_faceid/demo/portraits

# The native client's parser, with clang and libFuzzer; the tests fuzz the same target with gcc alone.
fuzz-native:
	$(MAKE) -C native fuzz SECONDS=$(SECONDS)
