/// Cases of this area that data cannot express.
enum TransportCases {
    static let all: [Case] = []
}
