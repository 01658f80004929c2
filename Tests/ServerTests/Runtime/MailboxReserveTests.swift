import Server
import Testing

@Suite struct MailboxReserveTests {
    @Test("What the owner waits for goes in though clients have filled the inbox")
    func owedItems() {
        let mailbox = Mailbox<Int>(itemsMax: 4)
        for number in 0..<4 { #expect(mailbox.push(number)) }
        #expect(!mailbox.push(4))
        for number in 10..<14 { #expect(mailbox.push(number, isOwed: true)) }
        #expect(!mailbox.push(14, isOwed: true) && !mailbox.push(4))
        var batch: [Int] = []
        #expect(mailbox.takeAll(into: &batch, waiting: 0))
        #expect(batch == [0, 1, 2, 3, 10, 11, 12, 13])
        // And what they have filled of the reserve does not count for long.
        #expect(mailbox.push(5))
        mailbox.close()
        #expect(!mailbox.push(15, isOwed: true))
    }
}
