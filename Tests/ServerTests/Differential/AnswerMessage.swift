import SwiftProtobuf
import Wire

/// A response with a header.
protocol AnswerMessage: Message, CustomDebugStringConvertible {
    var header: Etcdserverpb_ResponseHeader { get set }
}

extension Etcdserverpb_RangeResponse: AnswerMessage {}
extension Etcdserverpb_PutResponse: AnswerMessage {}
extension Etcdserverpb_DeleteRangeResponse: AnswerMessage {}
extension Etcdserverpb_TxnResponse: AnswerMessage {}
extension Etcdserverpb_CompactionResponse: AnswerMessage {}
extension Etcdserverpb_LeaseGrantResponse: AnswerMessage {}
extension Etcdserverpb_LeaseRevokeResponse: AnswerMessage {}
extension Etcdserverpb_LeaseTimeToLiveResponse: AnswerMessage {}
extension Etcdserverpb_LeaseLeasesResponse: AnswerMessage {}
extension Etcdserverpb_HashKVResponse: AnswerMessage {}
