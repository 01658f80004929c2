import ResourceStore

/// What a user wants: a page with a text.
struct Site: ResourceObject {
    static let resource = Resource(group: "example.com", name: "sites")

    var apiVersion = "example.com/v1"
    var kind = "Site"
    var metadata: ObjectMetadata
    var spec: Spec
    var status: Status?

    struct Spec: Codable, Sendable { var title: String }
    struct Status: Codable, Sendable, Equatable { var page: String }
}

/// What there is: the page itself.
struct Page: ResourceObject {
    static let resource = Resource(group: "example.com", name: "pages")

    var apiVersion = "example.com/v1"
    var kind = "Page"
    var metadata: ObjectMetadata
    var html: String
}

/// Keeps one page for each site, and tells each site the name of its page.
struct SiteController: Sendable {
    let sites: ObjectCollection<TypedCodec<Site>>
    let pages: ObjectCollection<TypedCodec<Page>>

    init(store: ObjectStore) {
        sites = store.objects(of: Site.self)
        pages = store.objects(of: Page.self)
    }

    /// Runs until the task is cancelled. When the history is gone that a watch needs, everything is looked at again.
    func run() async throws {
        while !Task.isCancelled {
            do {
                for try await event in sites.watch() {
                    switch event {
                    case .added(let site), .modified(let site): try await reconcile(site)
                    case .deleted(let site): try await remove(pageOf: site)
                    case .bookmark: break
                    }
                }
            } catch let error as ObjectStoreError where error.code == .expired {
                continue
            }
        }
    }

    /// Makes what there is like what is wanted. Does nothing when it is so already, however often it runs.
    private func reconcile(_ site: Site) async throws {
        let name = site.metadata.name
        let html = "<h1>\(site.spec.title)</h1>"
        try await pages.createOrUpdate(name, namespace: site.metadata.namespace) { existing in
            var metadata = ObjectMetadata(name: name, namespace: site.metadata.namespace)
            metadata.ownerReferences = [
                OwnerReference(apiVersion: site.apiVersion, kind: site.kind, name: name, uid: site.metadata.uid ?? "")
            ]
            var page = existing ?? Page(metadata: metadata, html: "")
            page.html = html
            return page
        }
        do {
            try await sites.guaranteedUpdate(name, namespace: site.metadata.namespace) {
                $0.status = Site.Status(page: name)
            }
        } catch let error as ObjectStoreError where error.code == .notFound {
            // Deleted meanwhile: the watch will tell.
        }
    }

    private func remove(pageOf site: Site) async throws {
        do {
            try await pages.delete(site.metadata.name, namespace: site.metadata.namespace)
        } catch let error as ObjectStoreError where error.code == .notFound {
            // There was none.
        }
    }
}
