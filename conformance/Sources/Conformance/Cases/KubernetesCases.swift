/// Cases of this area that data cannot express.
enum KubernetesCases {
    static let all: [Case] = []
}
