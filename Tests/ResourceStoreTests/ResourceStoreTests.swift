import Testing

/// Everything about the library of objects. One test at a time: several start servers.
@Suite("ResourceStore", .serialized, .timeLimit(.minutes(5))) struct ResourceStoreTests {}
