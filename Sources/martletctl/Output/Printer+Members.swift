package import SwiftProtobuf
package import Wire

extension Printer {
    /// The answer of `member list`.
    package func memberList(_ response: Etcdserverpb_MemberListResponse) throws(CommandError) -> [UInt8] {
        try print(
            response,
            simple: { text in
                for member in response.members { text.line(memberCells(member).joined(separator: ", ")) }
            },
            json: { json in
                json.object { json in
                    isHex
                        ? hexMembers(response, into: &json)
                        : json.members(response.header, response.hasHeader, response.members)
                }
            },
            fields: { text in
                text.header(response.header)
                for member in response.members { fieldsMember(member, into: &text) }
            },
            table: {
                var table = TableWriter(headings: [
                    "ID", "STATUS", "NAME", "PEER ADDRS", "CLIENT ADDRS", "IS LEARNER",
                ])
                for member in response.members { table.append(memberCells(member)) }
                return table
            })
    }

    private func memberCells(_ member: Etcdserverpb_Member) -> [String] {
        [
            GoText.hex(member.id), member.name.isEmpty ? "unstarted" : "started", member.name,
            member.peerUrls.joined(separator: ","), member.clientUrls.joined(separator: ","),
            "\(member.isLearner)",
        ]
    }

    private func fieldsMember(_ member: Etcdserverpb_Member, into text: inout Text) {
        text.field("ID", member.id)
        text.field("Name", quoted: member.name)
        for url in member.peerUrls { text.field("PeerURL", quoted: url) }
        for url in member.clientUrls { text.field("ClientURL", quoted: url) }
        text.field("IsLearner", member.isLearner)
        text.line()
    }

    /// `--hex -w json`: identities as hexadecimal strings; `clientURLS` is etcdctl's spelling here.
    private func hexMembers(_ response: Etcdserverpb_MemberListResponse, into json: inout JSONText) {
        json.field(
            "header",
            object: { json in
                json.field("cluster_id", GoText.hex(response.header.clusterID))
                json.field("member_id", GoText.hex(response.header.memberID))
                json.field("revision", unlessZero: response.header.revision)
                json.field("raft_term", unlessZero: response.header.raftTerm)
            })
        json.field(
            "members",
            array: { json in
                for member in response.members {
                    json.object { json in
                        json.field("ID", GoText.hex(member.id))
                        json.field("name", member.name)
                        json.field("peerURLs", strings: member.peerUrls)
                        json.field("clientURLS", strings: member.clientUrls)
                    }
                }
            })
    }

    /// The answer of `member add`; with the environment that the new member starts with, in the simple format: there
    /// the URLs to advertise stand as they were given, `advertised`.
    package func memberAdd(
        _ response: Etcdserverpb_MemberAddResponse, name: String, advertised: String
    ) throws(CommandError) -> [UInt8] {
        try print(
            response,
            simple: { text in
                changed(response.member.id, "added to", response.header, into: &text)
                let cluster = response.members.flatMap { member in
                    member.peerUrls.map { "\(member.id == response.member.id ? name : member.name)=\($0)" }
                }
                text.line()
                text.line("ETCD_NAME=\(GoText.quoted(name))")
                text.line("ETCD_INITIAL_CLUSTER=\(GoText.quoted(cluster.joined(separator: ",")))")
                text.line("ETCD_INITIAL_ADVERTISE_PEER_URLS=\(GoText.quoted(advertised))")
                text.line("ETCD_INITIAL_CLUSTER_STATE=\"existing\"")
            },
            json: { json in
                json.object { json in
                    json.header(response.header, isPresent: response.hasHeader)
                    json.name("member")
                    json.member(response.member)
                    json.memberArray(response.members)
                }
            })
    }

    /// The answer `message` of `member remove`, `update` or `promote`: `change` is `removed from`, `updated in`, `promoted in`.
    package func memberChange(
        _ message: any Message, _ header: Etcdserverpb_ResponseHeader, _ members: [Etcdserverpb_Member],
        member: UInt64, change: String
    ) throws(CommandError) -> [UInt8] {
        try print(
            message, simple: { changed(member, change, header, into: &$0) },
            json: { $0.object { $0.members(header, true, members) } })
    }

    private func changed(
        _ member: UInt64, _ change: String, _ header: Etcdserverpb_ResponseHeader, into text: inout Text
    ) {
        let cluster = GoText.hex(header.clusterID, width: 16, blank: true)
        text.line("Member \(GoText.hex(member, width: 16, blank: true)) \(change) cluster \(cluster)")
    }
}

extension JSONText {
    fileprivate mutating func members(
        _ header: Etcdserverpb_ResponseHeader, _ hasHeader: Bool, _ members: [Etcdserverpb_Member]
    ) {
        self.header(header, isPresent: hasHeader)
        memberArray(members)
    }

    fileprivate mutating func memberArray(_ members: [Etcdserverpb_Member]) {
        if members.isEmpty { return }
        field("members", array: { json in for member in members { json.member(member) } })
    }

    fileprivate mutating func member(_ member: Etcdserverpb_Member) {
        object { json in
            json.field("ID", unlessZero: member.id)
            json.field("name", unlessEmpty: member.name)
            json.field("peerURLs", unlessEmpty: member.peerUrls)
            json.field("clientURLs", unlessEmpty: member.clientUrls)
            json.field("isLearner", unlessFalse: member.isLearner)
        }
    }

    /// An array of strings, `null` when empty.
    fileprivate mutating func field(_ name: String, strings: [String]) {
        self.name(name)
        strings.isEmpty ? null() : array { json in for string in strings { json.value(string) } }
    }
}
