/// Cases of this area that data cannot express.
enum LimitCases {
    static let all: [Case] = []
}
