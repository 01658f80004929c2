package import NIOCore

/// How long is waited, at the least, for what has to come. The times that cases name say how soon it usually does; a machine
/// that is busy with others takes longer, and that proves nothing against the server.
///
/// Of the task and those that it begins: `RunOptions.patience` sets it for a run.
package enum Patience {
    @TaskLocal package static var least: Duration = .seconds(60)
}

extension Duration {
    /// This time, or as long as the run is patient.
    package var patient: Duration { max(self, Patience.least) }
}

extension TimeAmount {
    /// This time, or as long as the run is patient.
    package var patient: TimeAmount { max(self, TimeAmount(Patience.least)) }
}
