# The commands of the project; README.md says what each is for.

PACKAGES       := libssl-dev zlib1g-dev libnghttp2-dev liblmdb-dev
TEST_PACKAGES  := etcd-client nghttp2-client openssl python3 python3-pip
ETCD_VERSION   := 3.5.1
RELEASE        := .build/release
REFERENCE      := .build/reference
OLD_VERSION    := 3.4.23
OLD_REFERENCE  := .build/reference-$(OLD_VERSION)
# Groups of test targets that wait for sockets, processes and disks: one group after the other, apart from all the targets
# that only compute, which would take the processors from them for minutes. Those of the network one test after the other.
# `.ci/tests --again` gives a failed test of theirs a second try and says so: a loaded machine is not a defect.
NETWORK        := TransportTests|TransportSecurityTests|PeersTests|ClientTests
SUITES         := ConformanceTests|ResourceStoreTests
WAITING        := $(NETWORK)|$(SUITES)|ServerTests|ClusterTests
BINARIES       := MARTLET_BIN=$(RELEASE) MARTLET_REFERENCE=$(CURDIR)/$(REFERENCE)

.PHONY: run cluster build test lint bench bench-cluster conformance soak fuzz reference clean

run: build
	@./.ci/start

# Three members with TLS on loopback, to try; CHECK=1 writes and reads once through etcdctl and stops.
cluster: build
	@./.ci/dependencies $(PACKAGES) openssl $(if $(CHECK),etcd-client)
	@./.ci/cluster $(if $(CHECK),--check)

build:
	@./.ci/dependencies $(PACKAGES)
	swift build -c release --product martlet
	swift build -c release --product martletctl

# Everything that proves the build: style, unit and model tests, the real etcdctl, a real etcd beside it, kill -9.
test: reference
	@./.ci/dependencies $(PACKAGES) $(TEST_PACKAGES)
	$(MAKE) lint
	swift build -c release --product martlet
	swift build -c release --product martletctl
	$(BINARIES) ./.ci/tests computing --skip '^($(WAITING))\.'
	$(BINARIES) ./.ci/tests network --again --skip-build --no-parallel --filter '^($(NETWORK))\.'
	$(BINARIES) ./.ci/tests suites --again --skip-build --filter '^($(SUITES))\.'
	$(BINARIES) ./.ci/tests server --again --skip-build --filter '^ServerTests\.'
	$(BINARIES) ./.ci/tests cluster --again --skip-build --filter '^ClusterTests\.'

lint:
	swift format lint --strict --parallel --recursive Package.swift \
	    $$(git ls-files 'Sources/*.swift' 'Tests/*.swift' 'conformance/*.swift' | grep -v /Generated/)

# The real etcd that tests and benchmarks run beside: only ever started on loopback.
reference: $(REFERENCE)/etcd

$(REFERENCE)/etcd:
	@./.ci/dependencies $(PACKAGES) $(TEST_PACKAGES)
	@./.ci/reference $(ETCD_VERSION) $(REFERENCE)

bench: reference build
	$(RELEASE)/martletctl bench compare --martlet $(RELEASE)/martlet --etcd $(REFERENCE)/etcd --work .build/bench \
	    --samples manifests/samples

# The same for three members of each: throughput, reads at a follower, write gaps, joining.
bench-cluster: reference build
	$(RELEASE)/martletctl bench compare-cluster --martlet $(RELEASE)/martlet --etcd $(REFERENCE)/etcd --work .build/bench

# Debian's etcd, which is a version older: only for the matrix, and only unpacked.
$(OLD_REFERENCE)/usr/bin/etcd:
	@./.ci/dependencies $(PACKAGES)
	mkdir -p $(OLD_REFERENCE)
	cd $(OLD_REFERENCE) && apt-get download etcd-server && dpkg-deb -x etcd-server_*.deb .

# Runs the conformance suite on Martlet, with one member and with three, and on two versions of etcd, and writes the matrix
# of all. A failed case is in the matrix.
CONFORMANCE = $(RELEASE)/martlet-conformance --deviations conformance/deviations.yaml --format json
conformance: reference $(OLD_REFERENCE)/usr/bin/etcd build
	swift build -c release --product martlet-conformance
	mkdir -p .build/conformance
	-$(CONFORMANCE) --server martlet --report .build/conformance/martlet.json \
	    --server-command "$(CURDIR)/$(RELEASE)/martlet"
	-$(CONFORMANCE) --server martlet --report .build/conformance/martlet-3.json --members 3 \
	    --server-command "$(CURDIR)/$(RELEASE)/martlet"
	-$(CONFORMANCE) --server etcd-$(ETCD_VERSION) --report .build/conformance/etcd.json \
	    --server-command "$(CURDIR)/$(REFERENCE)/etcd"
	-$(CONFORMANCE) --server etcd-$(OLD_VERSION) --report .build/conformance/etcd-old.json \
	    --server-command "$(CURDIR)/$(OLD_REFERENCE)/usr/bin/etcd"
	$(RELEASE)/martlet-conformance matrix Martlet=.build/conformance/martlet.json \
	    "Martlet, 3 members=.build/conformance/martlet-3.json" \
	    "etcd $(ETCD_VERSION)=.build/conformance/etcd.json" "etcd $(OLD_VERSION)=.build/conformance/etcd-old.json" \
	    --append conformance/mutations.md --output conformance/REPORT.md

# For hours: kill -9 and chaos with real processes, and simulated clusters from fresh seeds, until one fails or Ctrl-C.
soak: reference build
	swift build -c release --product martlet-simulate
	MARTLET_SOAK=1 $(BINARIES) swift test --filter Soak
	$(RELEASE)/martlet-simulate --seeds 1.. --jobs 2

# Coverage-guided fuzzing of the hot codecs and of a connection's framing, beside the seeded mutations of `make test`.
# FUZZ_SECONDS=60 bounds it; Ctrl-C stops it.
FUZZ_SECONDS   := 0
fuzz:
	@./.ci/dependencies $(PACKAGES)
	MARTLET_FUZZ=1 swift build -c release --scratch-path .build-fuzz --product martlet-fuzz \
	    -Xswiftc -sanitize=fuzzer,address -Xswiftc -enable-testing -Xswiftc -use-ld=lld
	mkdir -p .build-fuzz/corpus
	.build-fuzz/release/martlet-fuzz -max_len=4096 -max_total_time=$(FUZZ_SECONDS) .build-fuzz/corpus

clean:
	swift package clean
