/// Cases of this area that data cannot express.
enum KVCases {
    static let all: [Case] = []
}
