//! The introspection data: kept as golden files, because they are the API; and documented throughout.

use crate::api::{path_of, world};
use crate::fake::WRITER;
use crate::golden;
use trimtabd::dbus::proxy::{GUEST, MANAGER, PATH};

/// The XML of one interface of an object, and the whole document.
async fn introspect(path: &str, interface: &str) -> (String, String) {
    let w = world().await;
    let call = w.call(path, "org.freedesktop.DBus.Introspectable", "Introspect", &()).await;
    let xml: String = call.unwrap().deserialize().unwrap();
    let begin = xml.find(&format!("  <interface name=\"{interface}\">")).unwrap();
    let end = xml[begin..].find("</interface>").unwrap();
    (format!("{}</interface>\n", &xml[begin..begin + end]), xml)
}

/// Names of the members without a documentation annotation.
fn undocumented(xml: &str) -> Vec<String> {
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let document = roxmltree::Document::parse_with_options(xml, options).unwrap();
    let documented = |node: &roxmltree::Node<'_, '_>| {
        node.children().any(|child| {
            child.attribute("name") == Some("org.gtk.GDBus.DocString")
                && child.attribute("value").is_some_and(|text| text.len() > 10)
        })
    };
    let members = document
        .descendants()
        .filter(|node| ["method", "signal", "property", "interface"].contains(&node.tag_name().name()));
    members
        .filter(|node| !documented(node))
        .filter_map(|node| node.attribute("name"))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn the_manager_is_described() {
    let (interface, whole) = introspect(PATH, MANAGER).await;
    golden::check("org.trimtab1.Manager.xml", &interface);
    assert_eq!(undocumented(&interface), Vec::<String>::new());
    // Guests below are named, but not described once more each.
    assert_eq!(whole.matches(&format!("<interface name=\"{GUEST}\"/>")).count(), 2, "{whole}");
    assert!(
        undocumented(&whole).contains(&"Ping".to_owned()),
        "the check can fail, and the document is well-formed"
    );
}

#[tokio::test]
async fn a_guest_is_described() {
    let (interface, _) = introspect(&path_of(WRITER), GUEST).await;
    golden::check("org.trimtab1.Guest.xml", &interface);
    assert_eq!(undocumented(&interface), Vec::<String>::new());
}
