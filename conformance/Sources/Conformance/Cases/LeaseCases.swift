/// Cases of this area that data cannot express.
enum LeaseCases {
    static let all: [Case] = []
}
