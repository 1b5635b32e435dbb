//! The service described for reflection, written as data: there is no protobuf compiler in the build.

use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, MessageOptions,
    MethodDescriptorProto, ServiceDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

/// The name of the service, which is in no package.
pub(super) const SERVICE: &str = "SpiffeWorkloadAPI";

/// What a field holds.
#[derive(Clone, Copy)]
enum Holds {
    Text,
    Texts,
    Bytes,
    ListOfBytes,
    /// `map<string, bytes>`.
    BytesByName,
    One(&'static str),
    Several(&'static str),
}

/// Each message and its fields, numbered from 1.
const MESSAGES: &[(&str, &[(&str, Holds)])] = &[
    ("X509SVIDRequest", &[]),
    (
        "X509SVIDResponse",
        &[
            ("svids", Holds::Several(".X509SVID")),
            ("crl", Holds::ListOfBytes),
            ("federated_bundles", Holds::BytesByName),
        ],
    ),
    (
        "X509SVID",
        &[
            ("spiffe_id", Holds::Text),
            ("x509_svid", Holds::Bytes),
            ("x509_svid_key", Holds::Bytes),
            ("bundle", Holds::Bytes),
            ("hint", Holds::Text),
        ],
    ),
    ("X509BundlesRequest", &[]),
    (
        "X509BundlesResponse",
        &[("crl", Holds::ListOfBytes), ("bundles", Holds::BytesByName)],
    ),
    (
        "JWTSVIDRequest",
        &[("audience", Holds::Texts), ("spiffe_id", Holds::Text)],
    ),
    ("JWTSVIDResponse", &[("svids", Holds::Several(".JWTSVID"))]),
    (
        "JWTSVID",
        &[
            ("spiffe_id", Holds::Text),
            ("svid", Holds::Text),
            ("hint", Holds::Text),
        ],
    ),
    ("JWTBundlesRequest", &[]),
    ("JWTBundlesResponse", &[("bundles", Holds::BytesByName)]),
    (
        "ValidateJWTSVIDRequest",
        &[("audience", Holds::Text), ("svid", Holds::Text)],
    ),
    (
        "ValidateJWTSVIDResponse",
        &[
            ("spiffe_id", Holds::Text),
            ("claims", Holds::One(".google.protobuf.Struct")),
        ],
    ),
];

/// Each call: its name, what it takes and gives, and whether it gives a stream.
const CALLS: &[(&str, &str, &str, bool)] = &[
    ("FetchX509SVID", "X509SVIDRequest", "X509SVIDResponse", true),
    (
        "FetchX509Bundles",
        "X509BundlesRequest",
        "X509BundlesResponse",
        true,
    ),
    ("FetchJWTSVID", "JWTSVIDRequest", "JWTSVIDResponse", false),
    (
        "FetchJWTBundles",
        "JWTBundlesRequest",
        "JWTBundlesResponse",
        true,
    ),
    (
        "ValidateJWTSVID",
        "ValidateJWTSVIDRequest",
        "ValidateJWTSVIDResponse",
        false,
    ),
];

/// Returns the files that describe the service.
pub(super) fn files() -> FileDescriptorSet {
    let workload_api = FileDescriptorProto {
        name: Some("workload.proto".to_owned()),
        dependency: vec!["google/protobuf/struct.proto".to_owned()],
        message_type: MESSAGES
            .iter()
            .map(|(name, fields)| message(name, fields))
            .collect(),
        service: vec![service()],
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    };
    FileDescriptorSet {
        file: vec![structs(), workload_api],
    }
}

fn service() -> ServiceDescriptorProto {
    let call = |(name, takes, gives, streams): &(&str, &str, &str, bool)| MethodDescriptorProto {
        name: Some((*name).to_owned()),
        input_type: Some(format!(".{takes}")),
        output_type: Some(format!(".{gives}")),
        server_streaming: Some(*streams),
        ..MethodDescriptorProto::default()
    };
    ServiceDescriptorProto {
        name: Some(SERVICE.to_owned()),
        method: CALLS.iter().map(call).collect(),
        ..ServiceDescriptorProto::default()
    }
}

fn message(name: &str, fields: &[(&str, Holds)]) -> DescriptorProto {
    let numbered = || fields.iter().zip(1..);
    let maps = fields
        .iter()
        .filter(|(_, holds)| matches!(holds, Holds::BytesByName));
    DescriptorProto {
        name: Some(name.to_owned()),
        field: numbered()
            .map(|((field_name, holds), number)| field(name, field_name, *holds, number))
            .collect(),
        nested_type: maps
            .map(|(field_name, _)| entry(field_name, plain(Type::Bytes)))
            .collect(),
        ..DescriptorProto::default()
    }
}

fn field(message: &str, name: &str, holds: Holds, number: i32) -> FieldDescriptorProto {
    let (label, kind) = match holds {
        Holds::Text => (Label::Optional, plain(Type::String)),
        Holds::Texts => (Label::Repeated, plain(Type::String)),
        Holds::Bytes => (Label::Optional, plain(Type::Bytes)),
        Holds::ListOfBytes => (Label::Repeated, plain(Type::Bytes)),
        Holds::BytesByName => {
            let entry = format!(".{message}.{}", entry_name(name));
            (Label::Repeated, of(&entry))
        }
        Holds::One(it) => (Label::Optional, of(it)),
        Holds::Several(it) => (Label::Repeated, of(it)),
    };
    numbered(kind, name, label, number)
}

/// Returns the message that stands for one entry of a map (protobuf, "backwards compatibility" of maps).
fn entry(field_name: &str, value: FieldDescriptorProto) -> DescriptorProto {
    DescriptorProto {
        name: Some(entry_name(field_name)),
        field: vec![
            numbered(plain(Type::String), "key", Label::Optional, 1),
            numbered(value, "value", Label::Optional, 2),
        ],
        options: Some(MessageOptions {
            map_entry: Some(true),
            ..MessageOptions::default()
        }),
        ..DescriptorProto::default()
    }
}

/// `federated_bundles` has the entries `FederatedBundlesEntry`.
fn entry_name(field_name: &str) -> String {
    let words = field_name.split('_').map(|word| {
        let mut letters = word.chars();
        let first = letters.next().map(|it| it.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    });
    words.chain(["Entry".to_owned()]).collect()
}

fn plain(kind: Type) -> FieldDescriptorProto {
    FieldDescriptorProto {
        r#type: Some(kind.into()),
        ..FieldDescriptorProto::default()
    }
}

fn of(message: &str) -> FieldDescriptorProto {
    FieldDescriptorProto {
        type_name: Some(message.to_owned()),
        ..plain(Type::Message)
    }
}

fn numbered(
    field: FieldDescriptorProto,
    name: &str,
    label: Label,
    number: i32,
) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        label: Some(label.into()),
        ..field
    }
}

/// `google/protobuf/struct.proto`, which claims are told in.
fn structs() -> FileDescriptorProto {
    const VALUE: &str = ".google.protobuf.Value";
    let in_kind = |field: FieldDescriptorProto| FieldDescriptorProto {
        oneof_index: Some(0),
        ..field
    };
    let null = FieldDescriptorProto {
        type_name: Some(".google.protobuf.NullValue".to_owned()),
        ..plain(Type::Enum)
    };
    let kinds = [
        (null, "null_value"),
        (plain(Type::Double), "number_value"),
        (plain(Type::String), "string_value"),
        (plain(Type::Bool), "bool_value"),
        (of(".google.protobuf.Struct"), "struct_value"),
        (of(".google.protobuf.ListValue"), "list_value"),
    ];
    let kinds = kinds.into_iter().zip(1..);
    let kinds =
        kinds.map(|((kind, name), number)| in_kind(numbered(kind, name, Label::Optional, number)));
    let fields = of(".google.protobuf.Struct.FieldsEntry");
    let message = |name: &str, field| DescriptorProto {
        name: Some(name.to_owned()),
        field,
        ..DescriptorProto::default()
    };
    let null_value = prost_types::EnumDescriptorProto {
        name: Some("NullValue".to_owned()),
        value: vec![prost_types::EnumValueDescriptorProto {
            name: Some("NULL_VALUE".to_owned()),
            number: Some(0),
            options: None,
        }],
        ..prost_types::EnumDescriptorProto::default()
    };
    FileDescriptorProto {
        name: Some("google/protobuf/struct.proto".to_owned()),
        package: Some("google.protobuf".to_owned()),
        message_type: vec![
            DescriptorProto {
                nested_type: vec![entry("fields", of(VALUE))],
                ..message(
                    "Struct",
                    vec![numbered(fields, "fields", Label::Repeated, 1)],
                )
            },
            DescriptorProto {
                oneof_decl: vec![prost_types::OneofDescriptorProto {
                    name: Some("kind".to_owned()),
                    options: None,
                }],
                ..message("Value", kinds.collect())
            },
            message(
                "ListValue",
                vec![numbered(of(VALUE), "values", Label::Repeated, 1)],
            ),
        ],
        enum_type: vec![null_value],
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    }
}
