#!/bin/sh
# Regenerates ../Generated from the .proto files here, and the raftpb messages that only the tests use.
# Needs on PATH: protoc (3.21 or later) and protoc-gen-swift of the swift-protobuf version in Package.resolved
# (in a checkout of it: swift build -c release --product protoc-gen-swift).
set -eu
cd "$(dirname "$0")"
generated=../Generated
tests=../../../Tests/WireTests/Generated

generate() { # OUTPUT VISIBILITY FILE...
    out=$1
    visibility=$2
    shift 2
    rm -rf "$out"
    mkdir -p "$out"
    protoc --proto_path=. \
        --swift_out="$out" \
        --swift_opt=Visibility="$visibility" \
        --swift_opt=UseAccessLevelOnImports=true \
        --swift_opt=FileNaming=PathToUnderscores \
        "$@"
}

generate "$generated" Package $(find . -name '*.proto' ! -path './raftpb/*' | sed 's|^\./||' | LC_ALL=C sort)
generate "$tests" Internal raftpb/raft.proto
