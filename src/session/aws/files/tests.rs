//! Typical and malformed files of users.

use super::*;

fn profiles(config: &str, credentials: &str) -> Profiles {
    let mut profiles = Profiles::default();
    profiles.add_config(Path::new("/home/a/.aws/config"), config);
    profiles.add_credentials(Path::new("/home/a/.aws/credentials"), credentials);
    profiles
}

fn names(profiles: &Profiles) -> Vec<&str> {
    profiles.names().collect()
}

#[test]
fn both_files_are_merged_and_the_credentials_file_wins() {
    let profiles = profiles(
        "[default]\nregion = a\n[profile b]\nregion = b\noutput = json\n",
        "[b]\nregion = c\naws_access_key_id = k\n[d]\n",
    );

    assert_eq!(names(&profiles), ["b", "d", "default"]);
    assert_eq!(profiles.get("b", "region"), Some("c"));
    assert_eq!(profiles.get("b", "output"), Some("json"));
    assert_eq!(profiles.problems(), []);
}

#[test]
fn quoted_and_odd_names_are_profiles_with_an_alias_for_the_sdk() {
    let profiles = profiles(
        "[profile \"my prod\"]\nrole_arn = r\nsource_profile = büro\n[profile 'x']\n[profile büro]\nregion = a\n",
        "",
    );

    assert_eq!(names(&profiles), ["büro", "my prod", "x"]);
    let text = profiles.for_sdk();
    let buero = Profiles::alias("büro");
    assert_eq!(buero, "alias:62c3bc726f");
    assert!(
        text.contains(&format!("source_profile = {buero}\n")),
        "{text}"
    );
    assert!(
        text.contains(&format!("[profile {buero}]\nregion = a\n")),
        "{text}"
    );
    assert!(text.contains("[profile x]\n"), "{text}");
}

#[test]
fn a_section_that_was_meant_to_be_a_profile_is_named_where_the_profile_is_missing() {
    let profiles = profiles(
        "[prod]\nregion = a\n[profile a b]\n[profile \"c]\n[plugins]\n",
        "[profile x]\n",
    );

    let missing = |name| profiles.chain(name).unwrap_err().to_string();
    assert_eq!(
        missing("prod"),
        "the profile \"prod\" does not exist; /home/a/.aws/config:1: not a profile; write [profile prod]"
    );
    assert_eq!(
        missing("a b"),
        "the profile \"a b\" does not exist; /home/a/.aws/config:3: a name with spaces needs quotes: [profile \"a b\"]"
    );
    assert_eq!(
        missing("x"),
        "the profile \"x\" does not exist; /home/a/.aws/credentials:1: section headers of this file have no `profile` prefix; write [x]"
    );
    let problems: Vec<_> = profiles.problems().iter().map(Problem::to_string).collect();
    assert_eq!(
        problems,
        ["/home/a/.aws/config:4: the section header has an unclosed quote"]
    );
}

#[test]
fn a_chain_ends_at_the_profile_with_credentials() {
    let profiles = profiles(
        "[profile prod]\nrole_arn = r\nsource_profile = hub\n[profile hub]\nrole_arn = s\nsource_profile = base\n[profile base]\nsource_profile = nowhere\n[profile self]\nrole_arn = r\nsource_profile = self\n",
        "",
    );

    let chain = profiles.chain("prod").unwrap();
    assert_eq!(chain.profiles, ["prod", "hub", "base"]);
    assert_eq!(profiles.chain("self").unwrap().profiles, ["self"]);
}

#[test]
fn a_broken_chain_is_an_error() {
    let profiles = profiles(
        "[profile a]\nrole_arn = r\nsource_profile = b\n[profile b]\nrole_arn = r\nsource_profile = a\n[profile c]\nrole_arn = r\nsource_profile = d\n",
        "",
    );

    let of = |name| profiles.chain(name).unwrap_err().to_string();
    assert_eq!(of("a"), "the source_profile chain of \"b\" is a loop");
    assert_eq!(
        of("c"),
        "the profile \"c\" names the source_profile \"d\", which does not exist; existing profiles: \"a\", \"b\", \"c\""
    );
    assert_eq!(
        of("prdo"),
        "the profile \"prdo\" does not exist; existing profiles: \"a\", \"b\", \"c\""
    );
}

#[test]
fn the_text_for_the_sdk_omits_what_its_parser_rejects() {
    let profiles = profiles(
        "[default]\n  s3 =\n    max_queue_size = 10\n    nonsense\n  bad key = x\n  region: eu-west-1 # here\n",
        "",
    );

    assert_eq!(
        profiles.for_sdk(),
        "[profile default]\nregion = eu-west-1\ns3 = \n  max_queue_size = 10\n"
    );
}

#[test]
fn secrets_are_not_printed() {
    let profiles = profiles("", "[a]\naws_secret_access_key = hidden\nhidden\n");

    assert!(!format!("{profiles:?}").contains("hidden"));
    assert!(!profiles.problems()[0].to_string().contains("hidden"));
}
