import Wire

/// What libFuzzer calls with each input: every hot codec, as the seeded mutation tests call it. Built by `make fuzz` only.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOneInput(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    fuzzHotCodecs(UnsafeRawBufferPointer(start: bytes, count: count))
    return 0
}
