/// The one source of randomness below `Transport`: xoshiro256** (Blackman and Vigna, 2018), seeded with SplitMix64 so
/// that neighbouring seeds give unrelated streams. The same seed gives the same numbers on every platform.
package struct PRNG: RandomNumberGenerator, Sendable {
    private var s0: UInt64
    private var s1: UInt64
    private var s2: UInt64
    private var s3: UInt64

    package init(seed: UInt64) {
        var state = seed
        func split() -> UInt64 {
            state &+= 0x9e37_79b9_7f4a_7c15
            var z = state
            z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
            z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
            return z ^ (z >> 31)
        }
        s0 = split()
        s1 = split()
        s2 = split()
        s3 = split()
    }

    package mutating func next() -> UInt64 {
        func rotate(_ x: UInt64, _ k: UInt64) -> UInt64 { (x << k) | (x >> (64 - k)) }
        let result = rotate(s1 &* 5, 7) &* 9
        let t = s1 << 17
        s2 ^= s0
        s3 ^= s1
        s1 ^= s2
        s0 ^= s3
        s2 ^= t
        s3 = rotate(s3, 45)
        return result
    }

    /// A whole number in `range`, which must not be empty.
    package mutating func next(in range: Range<Int>) -> Int { Int.random(in: range, using: &self) }

    /// True once in `oneIn` draws on average.
    package mutating func chance(oneIn: Int) -> Bool { next(in: 0..<oneIn) == 0 }
}
