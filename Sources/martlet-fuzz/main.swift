import Wire

// A coverage-guided fuzzer of everything that reads a client's bytes; built by `make fuzz` only, which links libFuzzer.

/// libFuzzer's entry for programs that have a main function of their own. Source: LLVM, `FuzzerInterface.h`.
@_silgen_name("LLVMFuzzerRunDriver")
private func runFuzzer(
    _ count: UnsafeMutablePointer<CInt>,
    _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
    _ test: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

var count = CommandLine.argc
var arguments = CommandLine.unsafeArgv
_ = runFuzzer(&count, &arguments) { bytes, count in
    let input = UnsafeRawBufferPointer(start: bytes, count: count)
    // The first byte chooses what gets the others.
    guard let choice = input.first else { return 0 }
    let rest = UnsafeRawBufferPointer(rebasing: input.dropFirst())
    if choice % 2 == 0 { fuzzHotCodecs(rest) } else { fuzzConnection(rest) }
    return 0
}
