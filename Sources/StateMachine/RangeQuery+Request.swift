package import MVCC
package import Wire

extension RangeRequestView {
    /// Whether sort order and target are numbers that the API defines.
    package var isSortKnown: Bool { (0...2).contains(sortOrder) && (0...4).contains(sortTarget) }
}

extension RangeQuery {
    /// The query a request asks for. KEY ascending is the natural order; a target other than KEY without an order is
    /// not the same as an ascending one, see `StoreReader.planSorted`. Source: etcd-behaviour, section 1.1.
    package init(_ request: RangeRequestView) {
        self.init(key: request.key, end: request.rangeEnd)
        limit = request.limit
        revision = request.revision
        keysOnly = request.keysOnly
        countOnly = request.countOnly
        target =
            switch request.sortTarget {
            case 1: .version
            case 2: .create
            case 3: .mod
            case 4: .value
            default: .key
            }
        order =
            switch request.sortOrder {
            case 1: target == .key ? .none : .ascend
            case 2: .descend
            default: .none
            }
        minModRevision = request.minModRevision
        maxModRevision = request.maxModRevision
        minCreateRevision = request.minCreateRevision
        maxCreateRevision = request.maxCreateRevision
    }
}
