/// Cases of this area that data cannot express.
enum FaultCases {
    static let all: [Case] = []
}
