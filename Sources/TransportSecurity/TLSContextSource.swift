import NIOConcurrencyHelpers
package import NIOCore

/// Gives out the present `TLSContext` and replaces it when its files change on disk.
///
/// Any thread may call it. Connections already open keep the context they have. A replacement is complete (every file
/// read, parsed, key matched to certificate) before it is given out; while the files are bad, half-replaced or gone,
/// the last good context serves and the error is reported. Source: operators-pain.md row 16, etcd#11555.
package final class TLSContextSource: Sendable {
    /// What a source tells its owner, for logs and metrics.
    package enum Event: Sendable, Equatable {
        /// New files serve from now on; `reloads` counts them since the start.
        case reloaded(reloads: Int)
        /// The new files are bad; the old context serves on. Told once for each different message.
        case failed(TLSError)
    }

    private struct State {
        var context: TLSContext
        var signatures: [SecretFile.Signature]
        var nextCheck: NIODeadline
        var isChecking = false
        var reloads = 0
        var failures = 0
        var lastError: TLSError?
    }

    package let configuration: TLSConfiguration
    private let checkInterval: TimeAmount
    private let now: @Sendable () -> NIODeadline
    private let report: @Sendable (Event) -> Void
    private let state: NIOLockedValueBox<State>
    /// Held while files are read, so that two reloads cannot finish in the wrong order. Never taken inside `state`.
    private let loading = NIOLock()

    /// Loads the files once; throws what `TLSContext` throws. `report` is called on the thread that noticed the change,
    /// outside any lock; `now` is the clock that `checkInterval` is measured with.
    package init(
        _ configuration: TLSConfiguration, checkInterval: TimeAmount = .seconds(1),
        now: @escaping @Sendable () -> NIODeadline = { NIODeadline.now() },
        report: @escaping @Sendable (Event) -> Void = { _ in }
    ) throws(TLSError) {
        let signatures = Self.signatures(of: configuration)
        let context = try TLSContext(configuration)
        self.configuration = configuration
        self.checkInterval = checkInterval
        self.now = now
        self.report = report
        state = NIOLockedValueBox(
            State(context: context, signatures: signatures, nextCheck: now() + checkInterval))
    }

    /// The context for a new connection; looks at the files first when `checkInterval` has passed since the last look.
    package func current() -> TLSContext {
        let time = now()
        let isDue = state.withLockedValue { state in
            if state.isChecking || time < state.nextCheck { return false }
            state.isChecking = true
            state.nextCheck = time + checkInterval
            return true
        }
        if isDue {
            let signatures = Self.signatures(of: configuration)
            // After a failure the files are tried again even if they look the same: what was wrong may be elsewhere
            // (a directory's rights, a limit of open files).
            let mustLoad = state.withLockedValue { $0.signatures != signatures || $0.lastError != nil }
            if mustLoad { _ = load() }
            state.withLockedValue { $0.isChecking = false }
        }
        return state.withLockedValue { $0.context }
    }

    /// Reads the files now, whether or not they look changed. Returns the error, and keeps the old context, when they
    /// are bad.
    @discardableResult
    package func reload() -> TLSError? { load() }

    /// Last second of our own certificate's validity, seconds since 1970; nil for a client without one.
    package var expiry: Int64? { state.withLockedValue { $0.context.certificate?.notAfter } }

    /// How often new files have come into use since the start.
    package var reloads: Int { state.withLockedValue { $0.reloads } }

    /// How often reading new files has failed since the start.
    package var failures: Int { state.withLockedValue { $0.failures } }

    /// Why the newest files are not in use; nil when they are.
    package var lastError: TLSError? { state.withLockedValue { $0.lastError } }

    private func load() -> TLSError? {
        let (event, error) = loading.withLock { () -> (Event?, TLSError?) in
            // Taken before reading: a file that changes meanwhile looks changed at the next check.
            let signatures = Self.signatures(of: configuration)
            do throws(TLSError) {
                let context = try TLSContext(configuration)
                let reloads = state.withLockedValue { state in
                    state.context = context
                    state.signatures = signatures
                    state.reloads += 1
                    state.lastError = nil
                    return state.reloads
                }
                return (.reloaded(reloads: reloads), nil)
            } catch {
                let isNew = state.withLockedValue { state in
                    let isNew = state.lastError != error
                    state.signatures = signatures
                    state.failures += 1
                    state.lastError = error
                    return isNew
                }
                return (isNew ? .failed(error) : nil, error)
            }
        }
        if let event { report(event) }
        return error
    }

    private static func signatures(of configuration: TLSConfiguration) -> [SecretFile.Signature] {
        configuration.files.map(SecretFile.Signature.init(of:))
    }
}
