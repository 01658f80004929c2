/// Arithmetic on key ranges as the protocol writes them.
package enum KeyRange {
    /// The end of the range of all keys that begin with `prefix`: the last byte plus one, where 0xff bytes at the end
    /// fall away; `[0]`, "from the key on", when there is nothing else. Source: spec section 1.1, `range_end`.
    package static func prefixEnd(_ prefix: [UInt8]) -> [UInt8] {
        var end = prefix
        while let last = end.last {
            if last < 0xff {
                end[end.count - 1] = last + 1
                return end
            }
            end.removeLast()
        }
        return [0]
    }
}
