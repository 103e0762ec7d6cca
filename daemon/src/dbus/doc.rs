//! Introspection with documentation: zbus writes doc comments as XML comments, which no tool shows; here they become the
//! `org.gtk.GDBus.DocString` annotations that d-feet, gdbus-codegen and others read.
//!
//! [`Documented`] wraps an interface and passes everything else on. Below the introspected object only the interface's
//! name is written: 200 guests would otherwise repeat the whole text 200 times in one answer.
//! May not: know a member by name.

use std::collections::HashMap;
use std::fmt::Write;
use zbus::message::{Header, Message};
use zbus::names::{InterfaceName, MemberName};
use zbus::object_server::{DispatchResult, Interface, SignalEmitter};
use zbus::{BoxDBusError, Connection, ObjectServer, OwnedVariant, Variant, fdo};

/// Indentation at which zbus writes the interfaces of the introspected object itself.
const OWN_LEVEL: usize = 2;

/// The documentation of an interface as a whole.
pub(super) trait InterfaceDoc {
    /// One paragraph.
    const DOC: &'static str;
}

/// An interface whose doc comments appear as annotations.
pub(super) struct Documented<I>(pub(super) I);

#[zbus::export::async_trait::async_trait]
impl<I: Interface + InterfaceDoc> Interface for Documented<I> {
    fn name() -> InterfaceName<'static> {
        I::name()
    }

    fn spawn_tasks_for_methods(&self) -> bool {
        self.0.spawn_tasks_for_methods()
    }

    async fn get(
        &self,
        property: &str,
        server: &ObjectServer,
        connection: &Connection,
        header: Option<&Header<'_>>,
        emitter: &SignalEmitter<'_>,
    ) -> Option<Result<OwnedVariant, BoxDBusError>> {
        self.0.get(property, server, connection, header, emitter).await
    }

    async fn get_all(
        &self,
        server: &ObjectServer,
        connection: &Connection,
        header: Option<&Header<'_>>,
        emitter: &SignalEmitter<'_>,
    ) -> fdo::Result<HashMap<String, OwnedVariant>> {
        self.0.get_all(server, connection, header, emitter).await
    }

    fn set<'call>(
        &'call self,
        property: &'call str,
        value: &'call Variant<'_>,
        server: &'call ObjectServer,
        connection: &'call Connection,
        header: Option<&'call Header<'_>>,
        emitter: &'call SignalEmitter<'_>,
    ) -> DispatchResult<'call> {
        self.0.set(property, value, server, connection, header, emitter)
    }

    async fn set_mut(
        &mut self,
        property: &str,
        value: &Variant<'_>,
        server: &ObjectServer,
        connection: &Connection,
        header: Option<&Header<'_>>,
        emitter: &SignalEmitter<'_>,
    ) -> Option<Result<(), BoxDBusError>> {
        self.0.set_mut(property, value, server, connection, header, emitter).await
    }

    fn call<'call>(
        &'call self,
        server: &'call ObjectServer,
        connection: &'call Connection,
        message: &'call Message,
        name: MemberName<'call>,
    ) -> DispatchResult<'call> {
        self.0.call(server, connection, message, name)
    }

    fn call_mut<'call>(
        &'call mut self,
        server: &'call ObjectServer,
        connection: &'call Connection,
        message: &'call Message,
        name: MemberName<'call>,
    ) -> DispatchResult<'call> {
        self.0.call_mut(server, connection, message, name)
    }

    fn introspect_to_writer(&self, writer: &mut dyn Write, level: usize) {
        let result = if level > OWN_LEVEL {
            writeln!(writer, "{:level$}<interface name=\"{}\"/>", "", I::name())
        } else {
            let mut xml = String::new();
            self.0.introspect_to_writer(&mut xml, level);
            annotate(&xml, I::DOC, writer)
        };
        if let Err(error) = result {
            tracing::debug!(%error, "introspection data not written");
        }
    }
}

/// Copies the interface's XML, one tag a line as zbus writes it, turning each comment into an annotation at the end of
/// the element that it precedes, and adding `doc` at the end of the interface.
fn annotate(xml: &str, doc: &str, out: &mut dyn Write) -> std::fmt::Result {
    let mut comment: Option<Vec<&str>> = None;
    let mut pending: Option<String> = None;
    for line in xml.lines() {
        let text = line.trim();
        let indent = line.len() - line.trim_start().len();
        match (&mut comment, text) {
            (_, "<!--") => comment = Some(Vec::new()),
            (Some(lines), "-->") => {
                pending = Some(lines.join(" "));
                comment = None;
            }
            (Some(lines), _) => lines.push(text),
            (None, "</interface>") => {
                annotation(out, indent + 2, doc)?;
                writeln!(out, "{line}")?;
            }
            (None, "</method>" | "</signal>" | "</property>") => {
                if let Some(doc) = pending.take() {
                    annotation(out, indent + 2, &doc)?;
                }
                writeln!(out, "{line}")?;
            }
            (None, _) => match (text.strip_prefix("<property ").and(line.strip_suffix("/>")), pending.take())
            {
                (Some(open), Some(doc)) => {
                    writeln!(out, "{open}>")?;
                    annotation(out, indent + 2, &doc)?;
                    writeln!(out, "{:indent$}</property>", "")?;
                }
                (_, doc) => {
                    pending = doc;
                    writeln!(out, "{line}")?;
                }
            },
        }
    }
    Ok(())
}

fn annotation(out: &mut dyn Write, indent: usize, doc: &str) -> std::fmt::Result {
    let value = doc.trim().replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    writeln!(out, "{:indent$}<annotation name=\"org.gtk.GDBus.DocString\" value=\"{value}\"/>", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_become_annotations_of_what_follows() {
        let xml = "<interface name=\"a.B\">\n  <!--\n   Do \"it\"\n   <now> & here.\n   -->\n  <method name=\"Do\">\n    \
            <arg name=\"x\" type=\"s\" direction=\"in\"/>\n  </method>\n  <!--\n   P.\n   -->\n  <property name=\"P\" \
            type=\"s\" access=\"read\"/>\n  <property name=\"Q\" type=\"s\" access=\"read\"/>\n</interface>\n";
        let mut out = String::new();
        annotate(xml, "All.", &mut out).unwrap();
        let want = "<interface name=\"a.B\">\n  <method name=\"Do\">\n    <arg name=\"x\" type=\"s\" direction=\"in\"/>\n    \
            <annotation name=\"org.gtk.GDBus.DocString\" value=\"Do &quot;it&quot; &lt;now> &amp; here.\"/>\n  </method>\n  \
            <property name=\"P\" type=\"s\" access=\"read\">\n    \
            <annotation name=\"org.gtk.GDBus.DocString\" value=\"P.\"/>\n  </property>\n  \
            <property name=\"Q\" type=\"s\" access=\"read\"/>\n  \
            <annotation name=\"org.gtk.GDBus.DocString\" value=\"All.\"/>\n</interface>\n";
        assert_eq!(out, want);
    }
}
