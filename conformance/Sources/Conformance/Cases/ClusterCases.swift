/// Cases of this area that data cannot express.
enum ClusterCases {
    static let all: [Case] = []
}
