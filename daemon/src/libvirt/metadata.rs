//! What the admin wrote into a guest's libvirt metadata: from XML text to `GuestMeta`.
//!
//! One element in the namespace `urn:trimtab:guest:1`, set with
//! `virsh metadata GUEST --uri urn:trimtab:guest:1 --key trimtab --live --config --set '<guest>...</guest>'`:
//! ```xml
//! <guest>
//!   <weight>2048</weight>          relative weight, 1..=1000000, default 1024
//!   <job>lammps-17</job>           the gang (MPI job) that the guest belongs to, 1..=128 characters
//!   <exclude>placement</exclude>   a knob family that must not be turned: placement, priority; may be repeated
//!   <off/>                         leave this guest alone altogether
//! </guest>
//! ```
//! Every element is optional. A weight or job that cannot be read is reported and its default holds. What cannot be read
//! as an *exclusion*, an element that is not known, or text that is not XML is reported and the guest is left alone
//! altogether: the admin may have meant to protect it. May not: call libvirt.

use std::str::FromStr;
use trimtab_policy::knob::Family;
use trimtab_policy::sample::GuestMeta;

/// Namespace of the element.
pub const NAMESPACE: &str = "urn:trimtab:guest:1";
/// Largest weight. Assumption: nobody wants one guest to be a thousand times as important as the default.
pub const MAX_WEIGHT: u32 = 1_000_000;
/// Longest job name, in characters; longer than any batch system's job id.
pub const MAX_JOB_CHARS: usize = 128;
/// Largest text that is looked at, in bytes.
const MAX_BYTES: usize = 64 * 1024;

/// A guest's metadata could not be read as meant. What holds instead is in the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("metadata of guest {guest}, element {element}: {problem}")]
pub struct MetaError {
    /// Name of the guest.
    pub guest: String,
    /// Name of the element.
    pub element: String,
    /// What is wrong and what holds instead.
    pub problem: String,
}

/// Read the metadata of `guest`: what holds, and what was wrong with it. Never panics.
pub fn parse(guest: &str, xml: &str) -> (GuestMeta, Vec<MetaError>) {
    let mut reader = Reader { guest, meta: GuestMeta::default(), errors: Vec::new() };
    if xml.len() > MAX_BYTES {
        reader.protect("guest", &format!("is longer than {MAX_BYTES} bytes"));
    } else {
        match roxmltree::Document::parse(xml) {
            Ok(document) => reader.root(document.root_element()),
            Err(error) => reader.protect("guest", &format!("is not XML: {error}")),
        }
    }
    (reader.meta, reader.errors)
}

struct Reader<'a> {
    guest: &'a str,
    meta: GuestMeta,
    errors: Vec<MetaError>,
}

impl Reader<'_> {
    /// libvirt hands the element out without its namespace; with it is fine too.
    fn root(&mut self, root: roxmltree::Node<'_, '_>) {
        if root.tag_name().name() != "guest" {
            return self.protect(root.tag_name().name(), "is not known, 'guest' is");
        }
        if let Some(attribute) = root.attributes().next() {
            self.protect("guest", &format!("attribute {} is not known", attribute.name()));
        }
        if root.children().any(|n| n.is_text() && n.text().is_some_and(|t| !t.trim().is_empty())) {
            self.protect("guest", "contains text outside of an element");
        }
        for element in root.children().filter(roxmltree::Node::is_element) {
            self.element(element);
        }
    }

    fn element(&mut self, element: roxmltree::Node<'_, '_>) {
        let name = element.tag_name().name();
        let text = element.text().unwrap_or_default().trim();
        match name {
            "weight" => match u32::from_str(text) {
                Ok(weight) if (1..=MAX_WEIGHT).contains(&weight) => self.meta.weight = weight,
                _ => self.error(
                    name,
                    format!("'{text}' is not a number from 1 to {MAX_WEIGHT}; {} holds", self.meta.weight),
                ),
            },
            "job" => match text.chars().count() {
                1..=MAX_JOB_CHARS => self.meta.job = Some(text.to_owned()),
                n => self.error(
                    name,
                    format!("has {n} characters, not 1 to {MAX_JOB_CHARS}; the guest counts as in no job"),
                ),
            },
            "exclude" => match text {
                "placement" => self.exclude(Family::Placement),
                "priority" => self.exclude(Family::Priority),
                _ => self.protect(name, &format!("'{text}' is not a knob family: placement, priority")),
            },
            "off" => self.meta.excluded = true,
            _ => self.protect(name, "is not known: weight, job, exclude, off"),
        }
    }

    fn exclude(&mut self, family: Family) {
        self.meta.excluded_knobs.insert(family);
    }

    fn error(&mut self, element: &str, problem: String) {
        self.errors.push(MetaError { guest: self.guest.to_owned(), element: element.to_owned(), problem });
    }

    fn protect(&mut self, element: &str, problem: &str) {
        self.meta.excluded = true;
        self.error(element, format!("{problem}; the guest is left alone"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn good(xml: &str) -> GuestMeta {
        let (meta, errors) = parse("g1", xml);
        assert_eq!(errors, []);
        meta
    }

    /// The one error's text, and what holds.
    fn bad(xml: &str) -> (GuestMeta, String) {
        let (meta, errors) = parse("g1", xml);
        assert_eq!(errors.len(), 1, "{errors:?}");
        (meta, errors[0].to_string())
    }

    #[test]
    fn every_element_is_read() {
        let meta = good(
            "<guest>\n  <weight> 2048 </weight>\n <job>mpi-7</job><exclude>priority</exclude>\n</guest>",
        );
        assert_eq!((meta.weight, meta.job.as_deref(), meta.excluded), (2048, Some("mpi-7"), false));
        assert_eq!(meta.excluded_knobs.into_iter().collect::<Vec<_>>(), [Family::Priority]);
        assert!(good("<guest><off/></guest>").excluded);
        assert_eq!(good("<guest/>"), GuestMeta::default());
    }

    #[test]
    fn with_its_namespace_as_in_the_domain_xml_it_is_the_same() {
        let xml = "<t:guest xmlns:t='urn:trimtab:guest:1'><t:weight>512</t:weight></t:guest>";
        assert_eq!(good(xml).weight, 512);
    }

    #[test]
    fn a_bad_weight_or_job_is_said_and_the_default_holds() {
        for xml in [
            "<guest><weight>0</weight></guest>",
            "<guest><weight>much</weight></guest>",
            "<guest><weight/></guest>",
        ] {
            let (meta, error) = bad(xml);
            assert_eq!(meta, GuestMeta::default());
            assert!(error.starts_with("metadata of guest g1, element weight: "), "{error}");
        }
        let (meta, error) = bad("<guest><job/><weight>7</weight></guest>");
        assert_eq!((meta.weight, meta.job, meta.excluded), (7, None, false));
        assert!(error.contains("element job"), "{error}");
    }

    #[test]
    fn what_might_have_been_an_exclusion_protects_the_guest() {
        for (xml, element) in [
            ("<guest><exclude>placment</exclude></guest>", "exclude"),
            ("<guest><of/></guest>", "of"),
            ("<guest weight='7'/>", "guest"),
            ("<guest>off</guest>", "guest"),
            ("<gast/>", "gast"),
            ("<guest", "guest"),
        ] {
            let (meta, error) = bad(xml);
            assert!(meta.excluded, "{xml}");
            assert!(
                error.contains(&format!("element {element}: ")) && error.ends_with("the guest is left alone"),
                "{error}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(xml in ".{0,400}") {
            let _ = parse("g", &xml);
        }

        #[test]
        fn no_near_miss_makes_it_panic(parts in proptest::collection::vec(
            prop_oneof![
                Just("<guest>"), Just("</guest>"), Just("<weight>"), Just("</weight>"), Just("<exclude>"), Just("</exclude>"),
                Just("<off/>"), Just("placement"), Just("2048"), Just("-1"), Just("&#0;"), Just("&x;"), Just("<!DOCTYPE a ["),
                Just("]>"), Just("<![CDATA["), Just("]]>"), Just("\u{0}"), Just("xmlns='urn:trimtab:guest:1'"),
            ], 0..24)) {
            let (meta, errors) = parse("g", &parts.concat());
            prop_assert!(meta.weight >= 1 && meta.weight <= MAX_WEIGHT);
            prop_assert!(errors.iter().all(|e| e.guest == "g"));
        }

        #[test]
        fn every_good_weight_survives(weight in 1..=MAX_WEIGHT) {
            let (meta, errors) = parse("g", &format!("<guest><weight>{weight}</weight></guest>"));
            prop_assert_eq!(errors, []);
            prop_assert_eq!(meta.weight, weight);
        }
    }
}
