/// Cases of this area that data cannot express.
enum WatchCases {
    static let all: [Case] = []
}
