/// Cases of this area that data cannot express.
enum RevisionCases {
    static let all: [Case] = []
}
