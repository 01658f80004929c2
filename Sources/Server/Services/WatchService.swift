import MVCC
import Primitives
import StateMachine
import Synchronization
import Transport
import Watch
import Wire

/// `etcdserverpb.Watch`. Owner: the event loop; the watching itself is the hub's.
struct WatchService {
    let state: LoopState

    init(state: LoopState) { self.state = state }

    func open(_ call: RPCCall) -> any RPCStreamHandler { WatchCall(call: call, state: state) }
}

/// One Watch stream: requests go to the hub, which sends through this.
private final class WatchCall: RPCStreamHandler, WatchStreamSink {
    private let call: RPCCall
    private let state: LoopState
    private var stream: WatchStream?

    init(call: RPCCall, state: LoopState) {
        self.call = call
        self.state = state
        stream = state.hub.openStream(sink: self)
        state.watchCalls[ObjectIdentifier(self)] = { [unowned self] in self.end($0) }
        state.inbox.hasWatches.store(true, ordering: .releasing)
    }

    // MARK: Requests

    func received(message: UnsafeRawBufferPointer) {
        guard let stream else { return }
        guard let request = try? WatchRequestView(decoding: message) else {
            return end(RPCStatus(.malformed))
        }
        // What the hub has not distributed yet counts: a progress answer must not lag behind what a read would see.
        state.hub.newRevisions(upTo: state.context.store.currentRevision)
        switch stream.handle(request) {
        case .accepted: break
        case .overloaded: return end(RPCStatus(.tooManyRequests))
        }
        // A client that asks and does not read waits for its own answers.
        if !isWritable { call.pauseReceiving() }
    }

    private func end(_ status: RPCStatus) {
        close()
        call.fail(status)
    }

    /// A client that asks for nothing more is still sent its events, as by etcd: one-shot tools rely on it.
    func halfClosed() {}

    func cancelled() { close() }

    func shuttingDown() { end(RPCStatus(.stopped)) }

    private func close() {
        guard let stream else { return }
        self.stream = nil
        stream.close()
        state.watchCalls[ObjectIdentifier(self)] = nil
        if state.hub.counters.streams == 0 { state.inbox.hasWatches.store(false, ordering: .releasing) }
    }

    // MARK: WatchStreamSink

    func send(size: Int, _ fill: (UnsafeMutableRawBufferPointer) -> Void) { call.send(size: size, fill) }

    var isWritable: Bool { call.isWritable }

    func writable() {
        stream?.becameWritable()
        if call.isReceivingPaused { call.resumeReceiving() }
    }
}
