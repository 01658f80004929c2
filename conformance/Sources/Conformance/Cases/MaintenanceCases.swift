/// Cases of this area that data cannot express.
enum MaintenanceCases {
    static let all: [Case] = []
}
