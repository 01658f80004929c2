import ResourceStore
import Testing

@testable import martletctl

struct ThreeWayMergeTests {
    private func json(_ text: String) throws -> JSONValue { try JSONValue(parsing: text.utf8) }

    /// What was applied, what is wanted, what is stored, and what comes of it.
    @Test(arguments: [
        // Nulls ask for a field to be away, at any depth, and are never stored.
        ("{}", "{\"a\":null,\"b\":{\"c\":null,\"d\":1}}", "{}", "{\"b\":{\"d\":1}}"),
        ("{\"a\":1}", "{\"a\":null}", "{\"a\":1,\"z\":2}", "{\"z\":2}"),
        ("{\"a\":null}", "{\"a\":null}", "{}", "{}"),
        ("{\"l\":[{\"x\":null}]}", "{\"l\":[{\"x\":null}]}", "{\"l\":[{}]}", "{\"l\":[{}]}"),
        ("{\"l\":[1]}", "{\"l\":[null,{\"x\":null}]}", "{\"l\":[1]}", "{\"l\":[null,{}]}"),
        (
            "{\"containers\":[{\"name\":\"a\",\"env\":null}]}", "{\"containers\":[{\"name\":\"a\",\"env\":null}]}",
            "{\"containers\":[{\"name\":\"a\"}]}", "{\"containers\":[{\"name\":\"a\"}]}"
        ),
        // A field that is an object now, and was none.
        ("{\"a\":1}", "{\"a\":{\"b\":2,\"c\":null}}", "{\"a\":1}", "{\"a\":{\"b\":2}}"),
        ("{\"a\":{\"b\":2}}", "{\"a\":1}", "{\"a\":{\"b\":2}}", "{\"a\":1}"),
        // What is no longer wanted goes; what others have put beside it stays, and keeps its place.
        ("{\"a\":{\"b\":1}}", "{}", "{\"a\":{\"b\":1,\"c\":2}}", "{\"a\":{\"c\":2}}"),
        ("{\"a\":{\"b\":1}}", "{}", "{\"a\":{\"b\":1}}", "{}"),
        // Others have taken it away already.
        ("{\"a\":1}", "{}", "{}", "{}"),
        // Lists that are merged by name: others' elements stay, behind; what the manifest had goes with what is in it.
        (
            "{\"env\":[{\"name\":\"a\",\"value\":\"1\"},{\"name\":\"b\",\"value\":\"1\"}]}",
            "{\"env\":[{\"name\":\"b\",\"value\":\"2\"}]}",
            "{\"env\":[{\"name\":\"c\"},{\"name\":\"a\",\"value\":\"1\"},{\"name\":\"b\",\"value\":\"1\"}]}",
            "{\"env\":[{\"name\":\"b\",\"value\":\"2\"},{\"name\":\"c\"}]}"
        ),
        // Others' fields within an element do not keep it.
        (
            "{\"containers\":[{\"name\":\"a\",\"image\":\"i\"}]}", "{\"containers\":[]}",
            "{\"containers\":[{\"name\":\"a\",\"image\":\"i\",\"pull\":\"Always\"}]}", "{\"containers\":[]}"
        ),
        // Names that stand twice: the list is one value.
        (
            "{\"env\":[]}", "{\"env\":[{\"name\":\"a\"},{\"name\":\"a\"}]}", "{\"env\":[]}",
            "{\"env\":[{\"name\":\"a\"},{\"name\":\"a\"}]}"
        ),
        // Already as wanted, whoever did it.
        ("{\"a\":1}", "{\"a\":2}", "{\"a\":2}", "{\"a\":2}"),
    ])
    func merges(_ last: String, _ wanted: String, _ live: String, _ result: String) throws {
        let merge = ThreeWayMerge(
            last: try json(last), wanted: try json(wanted), live: try json(live), mergesLists: true)
        #expect(merge.result == (try json(result)))
        #expect(merge.conflicts == [])
        // What has been applied is changed by nothing but a change.
        let again = ThreeWayMerge(
            last: try json(wanted), wanted: try json(wanted), live: merge.result, mergesLists: true)
        #expect(again.result == merge.result && again.conflicts == [])
    }

    /// Each with the field that is named.
    @Test(arguments: [
        ("{\"a\":1}", "{\"a\":3}", "{\"a\":2}", "a"),
        ("{\"a\":1}", "{}", "{\"a\":2}", "a"),
        ("{\"a\":1}", "{\"a\":null}", "{\"a\":2}", "a"),
        ("{}", "{\"a\":null}", "{\"a\":2}", "a"),
        ("{\"a\":1}", "{\"a\":1}", "{}", "a"),
        ("{}", "{\"a\":1}", "{\"a\":2}", "a"),
        ("{\"s\":{\"a\":1}}", "{\"s\":{\"a\":1}}", "{\"s\":7}", "s"),
        ("{\"args\":[1]}", "{\"args\":[1,2]}", "{\"args\":[3]}", "args"),
        (
            "{\"env\":[{\"name\":\"a\",\"value\":\"1\"}]}", "{\"env\":[]}",
            "{\"env\":[{\"name\":\"a\",\"value\":\"2\"}]}", "env[name=\"a\"].value"
        ),
        (
            "{\"env\":[{\"name\":\"a\",\"value\":\"1\"}]}", "{\"env\":[{\"name\":\"a\",\"value\":\"1\"}]}",
            "{\"env\":[]}", "env[name=\"a\"]"
        ),
    ])
    func conflicts(_ last: String, _ wanted: String, _ live: String, _ field: String) throws {
        let merge = ThreeWayMerge(
            last: try json(last), wanted: try json(wanted), live: try json(live), mergesLists: true)
        #expect(merge.conflicts.map(\.field) == [field])
    }

    @Test func withoutAnyMemoryEveryDifferenceIsAConflict() throws {
        let merge = ThreeWayMerge(
            last: nil, wanted: try json("{\"a\":1,\"b\":{\"c\":1},\"n\":null}"),
            live: try json("{\"a\":2,\"b\":{\"c\":1,\"d\":1},\"n\":1}"), mergesLists: true)
        #expect(merge.conflicts.map(\.field) == ["a", "n"])
        #expect(merge.result == (try json("{\"a\":1,\"b\":{\"c\":1,\"d\":1}}")))
    }
}
