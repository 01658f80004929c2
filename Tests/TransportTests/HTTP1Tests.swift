import NIOCore
import NIOEmbedded
import Primitives
import Testing

@testable import Transport

struct HTTP1Tests {
    private func ask(_ server: EmbeddedServer, _ request: String) -> String {
        server.send(text(request))
        return String(decoding: server.output(), as: UTF8.self)
    }

    @Test func requestsOnOneConnection() throws {
        let server = try EmbeddedServer()
        let get = ask(server, "GET /health?serializable=true HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(get.hasPrefix("HTTP/1.1 200 OK\r\n") && get.hasSuffix("\r\n\r\nGET /health?serializable=true\n"))
        #expect(get.contains("content-length: 30\r\n"))
        let head = ask(server, "HEAD /health HTTP/1.1\r\nHost: a\r\n\r\n")
        #expect(head.contains("content-length: 14\r\n") && head.hasSuffix("\r\n\r\n"))
        let post = ask(server, "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello")
        #expect(post.hasSuffix("\r\n\r\nhello"))
        let chunked = ask(
            server,
            "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        #expect(chunked.hasSuffix("\r\n\r\nabcde"))
        #expect(server.isOpen)
        let last = ask(server, "GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
        #expect(last.contains("connection: close"))
        server.advance(.seconds(1))
        #expect(!server.isOpen)
    }

    @Test func http10ClosesAfterTheAnswer() throws {
        let server = try EmbeddedServer()
        #expect(ask(server, "GET / HTTP/1.0\r\n\r\n").hasSuffix("GET /?\n"))
        server.advance(.seconds(1))
        #expect(!server.isOpen)
    }

    @Test func pipelinedRequestsAreAnsweredInOrder() throws {
        let server = try EmbeddedServer()
        let requests = ["/a", "/later", "/b", "/c"].map { "GET \($0) HTTP/1.1\r\nHost: t\r\n\r\n" }.joined()
        let first = ask(server, requests)
        #expect(first.contains("GET /a?") && !first.contains("GET /b?"))
        server.responder.later.removeLast().send(HTTPResponse(status: 200, text: "late\n"))
        let rest = String(decoding: server.output(), as: UTF8.self)
        let places = ["late", "GET /b?", "GET /c?"].map { rest.firstRange(of: $0)!.lowerBound }
        #expect(places == places.sorted())
        #expect(ask(server, (0..<200).map { "GET /\($0) HTTP/1.1\r\nHost: t\r\n\r\n" }.joined()).contains("GET /199?"))
    }

    @Test func answerInParts() throws {
        let server = try EmbeddedServer()
        let answer = ask(server, "GET /parts HTTP/1.1\r\nHost: t\r\n\r\n")
        #expect(answer.contains("transfer-encoding: chunked"))
        #expect(answer.hasSuffix("3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"))
        #expect(ask(server, "GET / HTTP/1.1\r\nHost: t\r\n\r\n").hasPrefix("HTTP/1.1 200"))
    }

    @Test func unansweredRequestsGet500() throws {
        let server = try EmbeddedServer()
        #expect(ask(server, "GET /drop HTTP/1.1\r\nHost: t\r\n\r\n").hasPrefix("HTTP/1.1 500"))
    }

    @Test func lateAnswersAfterTheConnectionAreDropped() throws {
        let server = try EmbeddedServer()
        _ = ask(server, "GET /later HTTP/1.1\r\nHost: t\r\n\r\n")
        server.disconnect()
        let reply = server.responder.later.removeLast()
        #expect(!reply.isLive)
        reply.send(HTTPResponse(status: 200, text: "x"))
        #expect(server.output().isEmpty)
    }

    @Test(arguments: [
        ("GET / HTTP/1.1\r\nHost: t\r\nx: \(String(repeating: "y", count: 17_000))\r\n\r\n", "431"),
        ("GET / HTTP/1.1\r\nHost: t\r\n" + (0..<2000).map { "x\($0): y\r\n" }.joined() + "\r\n", "431"),
        ("GET /\(String(repeating: "y", count: 17_000)) HTTP/1.1\r\nHost: t\r\n\r\n", "431"),
        ("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999\r\n\r\n", "413"),
        ("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
        ("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "400"),
        ("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: -5\r\n\r\nhello", "400"),
        ("GET / HTTP/1.1\r\n\r\n", "400"), ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\n folded\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: t\r\na b: c\r\n\r\n", "400"),
        ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}", "400"),
        ("HELLO\r\n\r\n", "400"),
    ])
    func badRequestsAreRefusedAndClosed(request: String, status: String) throws {
        let server = try EmbeddedServer()
        #expect(ask(server, request).hasPrefix("HTTP/1.1 \(status)"))
        server.advance(.seconds(1))
        #expect(!server.isOpen)
    }

    @Test func chunkedBodiesAreCappedToo() throws {
        var configuration = ServerConfiguration()
        configuration.limits.httpBodyBytesMax = 10_000
        let server = try EmbeddedServer(configuration)
        _ = ask(server, "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n")
        var answer = ""
        for _ in 0..<20 { answer += ask(server, "3e8\r\n\(String(repeating: "x", count: 1000))\r\n") }
        #expect(answer.hasPrefix("HTTP/1.1 413"))
    }

    @Test(arguments: 0..<40) func requestsMayBeCutAnywhere(seed: UInt64) throws {
        var random = PRNG(seed: seed)
        let server = try EmbeddedServer()
        var rest = text(
            "GET /a HTTP/1.1\r\nHost: t\r\n\r\nPOST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 7\r\n\r\npayloadGET /c HTTP/1.1\r\nHost: t\r\n\r\n"
        )[...]
        var answer = ""
        while !rest.isEmpty {
            let count = min(rest.count, random.next(in: 1..<12))
            answer += ask(server, String(decoding: rest.prefix(count), as: UTF8.self))
            rest = rest.dropFirst(count)
        }
        #expect(answer.contains("GET /a?") && answer.contains("payload") && answer.contains("GET /c?"))
    }

    @Test func slowAndIdleConnectionsAreClosed() throws {
        let slow = try EmbeddedServer()
        _ = ask(slow, "GET / HTTP/1.1\r\nHost: t\r\n\r\n")
        _ = ask(slow, "GET / HT")
        slow.advance(.seconds(11))
        #expect(!slow.isOpen)
        let idle = try EmbeddedServer()
        _ = ask(idle, "GET / HTTP/1.1\r\nHost: t\r\n\r\n")
        idle.advance(.seconds(115))
        #expect(idle.isOpen)
        idle.advance(.seconds(10))
        #expect(!idle.isOpen)
        let serving = try EmbeddedServer()
        _ = ask(serving, "GET /later HTTP/1.1\r\nHost: t\r\n\r\n")
        serving.advance(.seconds(1000))
        #expect(serving.isOpen)
    }

    @Test func shutdownClosesIdleAndFinishesTheOthers() throws {
        let idle = try EmbeddedServer()
        _ = ask(idle, "GET / HTTP/1.1\r\nHost: t\r\n\r\n")
        idle.loop.beginShutdown()
        idle.advance(.seconds(1))
        #expect(!idle.isOpen)
        let busy = try EmbeddedServer()
        _ = ask(busy, "GET /later HTTP/1.1\r\nHost: t\r\n\r\n")
        busy.loop.beginShutdown()
        #expect(busy.isOpen)
        busy.responder.later.removeLast().send(HTTPResponse(status: 200, text: "last\n"))
        let answer = String(decoding: busy.output(), as: UTF8.self)
        #expect(answer.contains("connection: close") && answer.hasSuffix("last\n"))
        busy.advance(.seconds(1))
        #expect(!busy.isOpen)
    }

    @Test func plainRequestsOverHTTP2() throws {
        let probe = Probe(try EmbeddedServer())
        func ask(_ method: String, _ path: String, _ body: [UInt8] = []) -> Probe.Answer {
            let headers = [
                (name: ":method", value: method), (name: ":scheme", value: "http"), (name: ":authority", value: "a"),
            ]
            return probe.answers[probe.open(path, headers: headers, body: body)]!
        }
        let get = ask("GET", "/metrics?x=1")
        #expect(get.header(":status") == "200" && get.data == text("GET /metrics?x=1\n") && get.isEnded)
        #expect(get.header("content-length") == "17")
        let head = ask("HEAD", "/metrics")
        #expect(head.data.isEmpty && head.isEnded)
        #expect(ask("POST", "/echo", text("body")).data == text("body"))
        #expect(ask("GET", "/drop").header(":status") == "500")
        #expect(ask("GET", "/parts").data == text("onetwo"))
        #expect(ask("POST", "/echo", Array(repeating: 1, count: 2_200_000)).header(":status") == "413")
        #expect(probe.call("/test.T/Echo", [1]).status == 0)
    }
}
