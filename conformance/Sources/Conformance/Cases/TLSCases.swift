/// Cases of this area that data cannot express.
enum TLSCases {
    static let all: [Case] = []
}
