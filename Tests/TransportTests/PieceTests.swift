import NIOCore
import NIOEmbedded
import Primitives
import Testing

@testable import Transport

/// `#expect` cannot call what mutates.
private func expect<T: Equatable>(_ value: T, _ wanted: T, _ location: SourceLocation = #_sourceLocation) {
    #expect(value == wanted, sourceLocation: location)
}

struct PieceTests {
    @Test(arguments: 0..<20) func rawBufferIsAQueueOfBytes(seed: UInt64) {
        var random = PRNG(seed: seed)
        let buffer = RawBuffer()
        var model: [UInt8] = []
        for _ in 0..<2000 {
            switch random.next(in: 0..<4) {
            case 0, 1:
                let bytes = (0..<random.next(in: 0..<700)).map { _ in UInt8(random.next(in: 0..<256)) }
                bytes.withUnsafeBytes { buffer.append($0) }
                model += bytes
            case 2:
                let count = random.next(in: 0..<model.count + 1)
                buffer.consume(count)
                model.removeFirst(count)
            default:
                if random.chance(oneIn: 20) {
                    buffer.clear(capacityKept: 1000)
                    model = []
                }
            }
            #expect(Array(buffer.readable) == model)
        }
    }

    @Test func framingReadsPrefixes() {
        func step(_ bytes: [UInt8], limit: Int = 100) -> String {
            bytes.withUnsafeBytes { buffer in
                switch MessageFraming.first(in: buffer, limit: limit) {
                case .incomplete: "incomplete"
                case .message(let message, let compressed, let framed): "\(Array(message)) \(compressed) \(framed)"
                case .tooLarge(let length): "tooLarge \(length)"
                case .badFlags(let flags): "badFlags \(flags)"
                }
            }
        }
        #expect(step([]) == "incomplete")
        #expect(step([0, 0, 0, 0]) == "incomplete")
        #expect(step([0, 0, 0, 0, 0]) == "[] false 5")
        #expect(step([1, 0, 0, 0, 2, 7, 8, 9]) == "[7, 8] true 7")
        #expect(step([0, 0, 0, 0, 3, 7, 8]) == "incomplete")
        #expect(step([0, 0, 0, 0, 101]) == "tooLarge 101")
        #expect(step([0, 0xff, 0xff, 0xff, 0xff]) == "tooLarge 4294967295")
        #expect(step([2, 0, 0, 0, 0]) == "badFlags 2")
    }

    @Test func timeouts() {
        func parse(_ string: String) -> TimeAmount? { text(string).withUnsafeBytes { GRPCTimeout.parse($0) } }
        #expect(parse("1S") == .seconds(1))
        #expect(parse("99999999H") == .seconds(3600 * 1_000_000))
        #expect(parse("250m") == .milliseconds(250))
        #expect(parse("7M") == .seconds(420))
        #expect(parse("3u") == .microseconds(3))
        #expect(parse("5n") == .nanoseconds(5))
        for bad in ["", "S", "1", "123456789S", "-1S", "1s", "1 S", "1.5S"] { #expect(parse(bad) == nil) }
        for amount in [1, 999, 1_000_000, 123_456_789_012, 7_200_000_000_000, Int64.max] {
            let parsed = parse(GRPCTimeout.format(.nanoseconds(amount)))
            #expect(parsed != nil && parsed! <= .nanoseconds(amount))
        }
    }

    @Test func percentEncoding() {
        #expect(PercentEncoding.encode("etcdserver: key not found") == "etcdserver: key not found")
        #expect(PercentEncoding.encode("100%\n") == "100%25%0A")
        #expect(PercentEncoding.encode(" a") == "%20a")
        for string in ["", "plain", "ü%\n", " x ", "a%2", "\u{0}\u{7f}", "日本"] {
            let decoded = text(PercentEncoding.encode(string)).withUnsafeBytes { PercentEncoding.decode($0) }
            #expect(decoded == string)
        }
        #expect(text("%zz%4").withUnsafeBytes { PercentEncoding.decode($0) } == "%zz%4")
    }

    @Test func methodTableFindsExactlyItsPaths() {
        let paths = (0..<300).map { "/package.Service\($0 % 7)/Method\($0)" }
        let table = RPCMethodTable(paths.map { ($0, $0.hasSuffix("5") ? .bidirectional : .unary) })
        for (index, path) in paths.enumerated() {
            #expect(text(path).withUnsafeBytes { table.find($0)?.index } == index)
            #expect(text(path + "x").withUnsafeBytes { table.find($0) } == nil)
            #expect(text(String(path.dropLast())).withUnsafeBytes { table.find($0)?.index } != index)
        }
        #expect(table.hasService("package.Service3"))
        #expect(!table.hasService("package.Service9"))
        #expect(UnsafeRawBufferPointer(start: nil, count: 0).isEmpty && table.find(.init(start: nil, count: 0)) == nil)
    }

    @Test func methodsMayHaveLimitsOfTheirOwn() {
        let table = RPCMethodTable([("/a.B/C", .unary), ("/a.B/D", .unary)], messageBytesMax: [10, .max])
        #expect(text("/a.B/C").withUnsafeBytes { table.find($0)?.messageBytesMax } == 10)
        #expect(text("/a.B/D").withUnsafeBytes { table.find($0)?.messageBytesMax } == .max)
        let unlimited = RPCMethodTable([("/a.B/C", .unary)])
        #expect(text("/a.B/C").withUnsafeBytes { unlimited.find($0)?.messageBytesMax } == .max)
    }

    @Test func tokenBucketAllowsBurstThenRate() {
        let start = NIODeadline.uptimeNanoseconds(1_000_000_000)
        var bucket = TokenBucket(burst: 10, perSecond: 5, now: start)
        for _ in 0..<10 { expect(bucket.take(now: start), true) }
        expect(bucket.take(now: start), false)
        var taken = 0
        for step in 1...1000 where bucket.take(now: start + .milliseconds(Int64(step))) { taken += 1 }
        #expect(taken == 5)
        for _ in 0..<10 { expect(bucket.take(now: start + .hours(1000)), true) }
        expect(bucket.take(now: start + .hours(1000)), false)
    }

    @Test func pingStrikes() {
        var configuration = KeepaliveConfiguration()
        configuration.pingStrikesMax = 2
        var strikes = PingStrikes(configuration)
        let start = NIODeadline.uptimeNanoseconds(0)
        for step in 0..<100 { expect(strikes.pingReceived(now: start + .seconds(5 * Int64(step))), true) }
        let later = start + .seconds(5 * 99)
        expect(strikes.pingReceived(now: later + .seconds(1)), true)
        expect(strikes.pingReceived(now: later + .seconds(2)), true)
        expect(strikes.pingReceived(now: later + .seconds(3)), false)
        strikes.payloadSent()
        expect(strikes.pingReceived(now: later + .seconds(3)), true)
    }

    @Test func keepaliveTimer() {
        var configuration = KeepaliveConfiguration()
        configuration.interval = .seconds(30)
        configuration.timeout = .seconds(10)
        let start = NIODeadline.uptimeNanoseconds(0)
        var timer = KeepaliveTimer(configuration, now: start)
        expect(timer.check(now: start + .seconds(29)), .wait(until: start + .seconds(30)))
        expect(timer.check(now: start + .seconds(30)), .ping(until: start + .seconds(40)))
        timer.bytesRead(now: start + .seconds(35))
        expect(timer.check(now: start + .seconds(40)), .wait(until: start + .seconds(65)))
        expect(timer.check(now: start + .seconds(66)), .ping(until: start + .seconds(76)))
        expect(timer.check(now: start + .seconds(70)), .wait(until: start + .seconds(76)))
        expect(timer.check(now: start + .seconds(76)), .close)
    }

    final class Entry: DeadlineEntry {
        var firedAt: [NIODeadline] = []
        override func expired(now: NIODeadline) { firedAt.append(now) }
    }

    @Test(arguments: 0..<10) func wheelWakesOnTimeOnceAndNotWhenCancelled(seed: UInt64) {
        let loop = EmbeddedEventLoop()
        let wheel = DeadlineWheel(loop: loop)
        var random = PRNG(seed: seed)
        let entries = (0..<200).map { _ in Entry() }
        var due = [NIODeadline?](repeating: nil, count: entries.count)
        for _ in 0..<400 {
            let index = random.next(in: 0..<entries.count)
            switch random.next(in: 0..<5) {
            case 0:
                wheel.cancel(entries[index])
                due[index] = nil
            case 1, 2, 3:
                let time =
                    loop.now + .milliseconds(Int64(random.next(in: 0..<(random.chance(oneIn: 4) ? 40_000 : 300))))
                wheel.schedule(entries[index], due: time)
                due[index] = time
            default: loop.advanceTime(by: .milliseconds(Int64(random.next(in: 0..<3000))))
            }
            for (position, entry) in entries.enumerated() {
                guard let time = due[position] else {
                    #expect(entry.firedAt.isEmpty)
                    continue
                }
                let tick = TimeAmount.nanoseconds(Int64(DeadlineWheel.tickNanoseconds))
                if entry.firedAt.isEmpty {
                    #expect(time + tick + .milliseconds(1) > loop.now)
                } else {
                    #expect(entry.firedAt.count == 1 && entry.firedAt[0] >= time)
                    entry.firedAt = []
                    due[position] = nil
                }
            }
        }
        for entry in entries { wheel.cancel(entry) }
        wheel.stop()
    }

    @Test(arguments: 0..<10) func gzipRoundTrip(seed: UInt64) throws {
        var random = PRNG(seed: seed)
        let gzip = Gzip()
        for size in [0, 1, 100, 20_000, 300_000] {
            let plain = (0..<size).map { _ in UInt8(random.next(in: 0..<(seed % 2 == 0 ? 4 : 256))) }
            plain.withUnsafeBytes { gzip.compress($0) }
            let packed = Array(gzip.output.readable)
            try packed.withUnsafeBytes { try gzip.decompress($0, bytesMax: size) }
            #expect(Array(gzip.output.readable) == plain)
            let twice = packed + packed
            try twice.withUnsafeBytes { try gzip.decompress($0, bytesMax: size * 2) }
            #expect(Array(gzip.output.readable) == plain + plain)
            if size > 0 {
                #expect(throws: Gzip.Failure.tooLarge) {
                    try packed.withUnsafeBytes { try gzip.decompress($0, bytesMax: size - 1) }
                }
            }
            let cut = packed.dropLast(random.next(in: 1..<packed.count))
            #expect(throws: Gzip.Failure.malformed) {
                try Array(cut).withUnsafeBytes { try gzip.decompress($0, bytesMax: size) }
            }
        }
    }

    @Test(arguments: 0..<50) func gzipOfNoiseIsRefused(seed: UInt64) {
        var random = PRNG(seed: seed)
        let gzip = Gzip()
        let noise = (0..<500).map { _ in UInt8(random.next(in: 0..<256)) }
        #expect(throws: Gzip.Failure.malformed) {
            try noise.withUnsafeBytes { try gzip.decompress($0, bytesMax: 1000) }
        }
    }
}
