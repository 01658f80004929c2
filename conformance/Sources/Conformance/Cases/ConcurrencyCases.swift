/// Cases of this area that data cannot express.
enum ConcurrencyCases {
    static let all: [Case] = []
}
