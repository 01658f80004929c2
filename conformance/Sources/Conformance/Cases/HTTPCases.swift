/// Cases of this area that data cannot express.
enum HTTPCases {
    static let all: [Case] = []
}
