use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::*;

/// A directory with these files, of which the first is read.
fn directory(files: &[(&str, &str)]) -> (tempfile::TempDir, Request) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let request = Request { files: vec![dir.path().join(files[0].0)], ..Request::default() };
    (dir, request)
}

/// Without the directory's name, which differs each time.
fn plain(text: &impl ToString, dir: &Path) -> String {
    text.to_string().replace(&format!("{}/", dir.display()), "")
}

fn load_text(text: &str) -> Project {
    let (_dir, request) = directory(&[("c.yaml", text)]);
    load(&request).unwrap()
}

/// Refusals, then warnings, each with its place; or the error.
fn remarks(files: &[(&str, &str)]) -> String {
    let (dir, request) = directory(files);
    match load(&request) {
        Ok(project) => {
            let all = project.refusals.iter().chain(&project.warnings);
            all.map(|remark| plain(remark, dir.path())).collect::<Vec<_>>().join("\n")
        }
        Err(error) => plain(&error, dir.path()),
    }
}

/// What the service `s` becomes of these lines, in JSON.
fn service(lines: &str) -> serde_json::Value {
    let lines = lines.replace('\n', "\n    ");
    let project = load_text(&format!("services:\n  s:\n    image: i\n    {lines}\n"));
    assert_eq!(project.refusals, [], "{lines}");
    let mut service = json(&project)["services"]["s"].take();
    let map = service.as_object_mut().unwrap();
    map.remove("image");
    map.remove("networks");
    service
}

#[test]
fn values_mean_what_yaml_1_2_says_and_modes_are_octal() {
    for (lines, wanted) in [
        (
            "environment: {A: yes, B: 0440, C: 1.10, D: no, E: ~, F: '', G: true}",
            r#"{"environment":{"A":"yes","B":"288","C":"1.1","D":"no","F":"","G":"true"}}"#,
        ),
        ("ports: [22:22]", r#"{"ports":[{"mode":"ingress","protocol":"tcp","published":"22","target":22}]}"#),
        (
            "ports: [\"9-10\"]",
            r#"{"ports":[{"mode":"ingress","protocol":"tcp","target":9},{"mode":"ingress","protocol":"tcp","target":10}]}"#,
        ),
        ("command: sh -c 'echo $$HOME'", r#"{"command":["sh","-c","echo $$HOME"]}"#),
        ("command: []\nentrypoint: ''", r#"{"command":[],"entrypoint":[]}"#),
        ("command:", "{}"),
        ("restart: no\ntty: yes", r#"{"tty":true}"#),
        (
            "healthcheck: {test: a b, interval: 90s}",
            r#"{"healthcheck":{"interval":"1m30s","test":["CMD-SHELL","a b"]}}"#,
        ),
        ("healthcheck: {test: [NONE]}", r#"{"healthcheck":{"disable":true}}"#),
        ("healthcheck: {disable: true}", r#"{"healthcheck":{"disable":true}}"#),
        (
            "tmpfs: /run:size=1m\nvolumes: [{type: tmpfs, target: /t, tmpfs: {size: 1k, mode: 0700}}]",
            r#"{"tmpfs":["/run:size=1m","/t:size=1024,mode=700"]}"#,
        ),
        (
            "volumes: [/a, '/b:/a:ro']",
            r#"{"volumes":[{"bind":{"create_host_path":true},"read_only":true,"source":"/b","target":"/a","type":"bind"}]}"#,
        ),
        (
            "sysctls: [net.core.somaxconn=1, kernel.msgmax=2]",
            r#"{"sysctls":{"kernel.msgmax":"2","net.core.somaxconn":"1"}}"#,
        ),
        ("extra_hosts: {a: 1.2.3.4, b: '[::1]'}", r#"{"extra_hosts":["a=1.2.3.4","b=::1"]}"#),
        (
            "ulimits: {nofile: {soft: 1, hard: -1}, nproc: 5}",
            r#"{"ulimits":{"nofile":{"hard":-1,"soft":1},"nproc":5}}"#,
        ),
        (
            "deploy: {replicas: 2, resources: {limits: {memory: 1g, cpus: '0.5'}}}",
            r#"{"cpus":0.5,"mem_limit":"1073741824","scale":2}"#,
        ),
        (
            "x-cthulhu: {ready-port: 80, log-limit: 1m, oneshot: true}",
            r#"{"x-cthulhu":{"log-limit":1048576,"oneshot":true,"ready-port":80}}"#,
        ),
        ("x-other: {whatever: 1}", "{}"),
        ("devices: [/dev/null]", r#"{"devices":[{"permissions":"rwm","source":"/dev/null","target":"/dev/null"}]}"#),
        ("gpus: all", r#"{"gpus":"all"}"#),
    ] {
        assert_eq!(service(lines).to_string(), wanted, "{lines}");
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let service = |lines: &str| format!("services:\n  s:\n    image: i\n    {}\n", lines.replace('\n', "\n    "));
    for (lines, wanted) in [
        ("helthcheck: {}", "c.yaml:4:5: service 's': 'helthcheck' is no key of a service: did you mean 'healthcheck'?"),
        ("zzz: 1", "c.yaml:4:5: service 's': 'zzz' is no key of a service"),
        ("healthcheck: {tset: a}", "c.yaml:4:19: service 's': 'tset' is no key of a healthcheck: did you mean 'test'?"),
        ("privileged: maybe", "c.yaml:4:17: service 's': privileged: 'maybe' is not true or false"),
        (
            "network_mode: none",
            "c.yaml:4:5: service 's': network_mode none is refused: a node needs an address, by which it is found and cut off",
        ),
        (
            "network_mode: host",
            "c.yaml:4:5: service 's': network_mode host is refused: a node on the host's network cannot be cut off",
        ),
        ("ipc: host", "c.yaml:4:5: service 's': ipc is refused: a node shares nothing with other containers"),
        (
            "logging: {driver: none}",
            "c.yaml:4:5: service 's': logging: driver none is refused: a node's log is a file of the cluster",
        ),
        (
            "scale: 2\nports: ['80:80']",
            "c.yaml:5:5: service 's': ports: 2 nodes cannot all have one port of the host: leave the host's port out, and the engine chooses",
        ),
        (
            "container_name: ../x",
            "c.yaml:4:21: service 's': container_name: '../x' is not a name of letters, digits, '.', '_' and '-'\nc.yaml:4:5: service 's': container_name is a name in DNS and of the node here, not of the container",
        ),
        (
            "mac_address: 02:42",
            "c.yaml:4:18: service 's': mac_address: '02:42' is not a MAC address, such as 02:42:ac:11:00:02",
        ),
        ("networks: [fornt]", "c.yaml:4:16: service 's': there is no network 'fornt' in the project"),
        (
            "networks: {default: {ipv4_address: 1.2.3.4}}",
            "c.yaml:4:16: service 's': ipv4_address: network 'default' has no subnet: give it one (ipam: config: - subnet: ...)",
        ),
        ("volumes: ['data:/d']", "c.yaml:4:15: service 's': there is no volume 'data' in the project"),
        ("volumes: ['./a:b']", "c.yaml:4:15: service 's': volumes: 'b' is not an absolute path in the container"),
        (
            "volumes: ['/a:/b:rx']",
            "c.yaml:4:15: service 's': volumes: 'rx' is no option of a volume: did you mean 'ro'?",
        ),
        ("secrets: [x]", "c.yaml:4:15: service 's': there is no secret 'x' in the project"),
        ("depends_on: [t]", "c.yaml:4:18: service 's': depends_on: there is no service 't': did you mean 's'?"),
        (
            "stop_grace_period: 10",
            "c.yaml:4:24: service 's': stop_grace_period: '10' is not a time, such as 1m30s or 500ms",
        ),
        (
            "volumes: [{type: volume, target: /v, volume: {subpath: a}}]",
            "c.yaml:4:51: service 's': volume: subpath is refused: mount the whole volume",
        ),
        (
            "tmpfs: [\"/x:size=nope\"]",
            "c.yaml:4:12: service 's': tmpfs: 'size=nope' is no option of a tmpfs, such as size=64m, mode=1777 or exec",
        ),
        (
            "ulimits: {nofile: {soft: 2, hard: 1}}",
            "c.yaml:4:15: service 's': ulimits: the soft limit is above the hard one",
        ),
        ("stop_signal: NOPE", "c.yaml:4:18: service 's': stop_signal: 'NOPE' is not a signal, such as SIGINT or 2"),
        ("mem_limit: 1x", "c.yaml:4:16: service 's': mem_limit: '1x' is not a size, such as 64m or 1gb"),
        (
            "labels: [io.cthulhu.x=1]",
            "c.yaml:4:5: service 's': the label io.cthulhu.x is refused: labels of that kind say who made a container",
        ),
        ("command: \"'x\"", "c.yaml:4:14: service 's': command: a quote or a backslash is without its other half"),
        (
            "command: a && b",
            "c.yaml:4:14: service 's': command: no shell is started: the program gets '&&' as an argument",
        ),
        (
            "restart: always",
            "c.yaml:4:5: service 's': restart is not applied: a killed node stays dead until you start it (--restart-policies applies it)",
        ),
        ("expose: [1]", "c.yaml:4:5: service 's': expose is ignored: nodes reach every port of each other"),
        ("user: $NO", "c.yaml:4:11: the variable NO is not set: it is taken as empty"),
        ("user: ${NO:?no NO}", "c.yaml:4:11: the variable NO must be set: no NO"),
        ("image: j", "c.yaml:4:5: duplicate mapping key `image` is not allowed here"),
        ("user: !foo x", "c.yaml:4:16: the tag !foo is unknown: there are !reset and !override"),
        ("- a", "c.yaml:4:7: while parsing a block mapping, did not find expected key"),
    ] {
        assert_eq!(remarks(&[("c.yaml", &service(lines))]), wanted, "{lines}");
    }
    let built = "services:\n  n1:\n    build: ./node\n";
    let wanted = "c.yaml:3:5: service 'n1': it is built (build: ./node): run 'docker compose build' and give it 'image:', or pass --image n1=NAME";
    assert_eq!(remarks(&[("c.yaml", built)]), wanted);
    for (text, wanted) in [
        ("", "c.yaml:1:1: a Compose file is a map with 'services', not nothing"),
        ("- a", "c.yaml:1:1: a Compose file is a map with 'services', not a list"),
        (
            "servces: {}",
            "c.yaml:1:1: 'servces' is no key of a Compose file: did you mean 'services'?\nc.yaml:1:1: there are no services",
        ),
        (
            "services: {'a b': {image: i}}",
            "c.yaml:1:12: service 'a b': a name has letters, digits, '.', '_' and '-', and begins with a letter or digit",
        ),
    ] {
        assert_eq!(remarks(&[("c.yaml", text)]), wanted, "{text}");
    }
}

#[test]
fn circles_are_named() {
    for (files, wanted) in [
        (
            &[("c.yaml", "services:\n  a: {image: i, depends_on: [b]}\n  b: {image: i, depends_on: [a]}")][..],
            "c.yaml:2:17: services depend on each other in a circle: a -> b -> a",
        ),
        (
            &[("c.yaml", "services:\n  a: {image: i, depends_on: [a]}")],
            "c.yaml:2:17: services depend on each other in a circle: a -> a",
        ),
        (
            &[("c.yaml", "services:\n  a: {extends: b}\n  b: {extends: {service: a}}")],
            "c.yaml:2:7: a service extends itself: a -> b -> a",
        ),
        (
            &[
                ("c.yaml", "services:\n  a: {extends: {service: b, file: d.yaml}}"),
                ("d.yaml", "services:\n  b: {extends: {service: a, file: c.yaml}}"),
            ],
            "c.yaml:2:7: a service extends itself: a -> b -> a",
        ),
        (
            &[("c.yaml", "include: [d.yaml]"), ("d.yaml", "include: [c.yaml]")],
            "d.yaml:1:11: a file includes itself: c.yaml -> d.yaml -> c.yaml",
        ),
    ] {
        assert_eq!(remarks(files), wanted);
    }
}

#[test]
fn no_input_takes_long() {
    let bomb: String = (1..30).map(|n| format!("x-{n}: &a{n} [*a{0}, *a{0}]\n", n - 1)).collect();
    let deep = format!("services: {}", "[".repeat(5_000));
    let chain: String = (0..500).map(|n| format!("  s{n}: {{extends: s{}}}\n", n + 1)).collect();
    for (text, part) in [
        (
            format!("x-0: &a0 [a]\n{bomb}services: {{}}"),
            "c.yaml:16:13: it is too large, or its aliases stand for too much: at most 200000 values",
        ),
        (deep, "c.yaml:1:"),
        (format!("services:\n{chain}  s500: {{image: i}}\n"), "more than 100 services extend each other"),
        ("x".repeat(5 << 20), "has more than 4 MiB"),
    ] {
        let begin = Instant::now();
        let said = remarks(&[("c.yaml", &text)]);
        assert!(said.contains(part) && !said.contains('\n'), "{part}: {}", &said[..said.len().min(500)]);
        assert!(begin.elapsed() < Duration::from_secs(10), "{part}: {:?}", begin.elapsed());
    }
    // Each file includes the next one twice.
    let files: Vec<_> =
        (0..30).map(|n| (format!("{n}.yaml"), format!("include: [{0}.yaml, ./{0}.yaml]", n + 1))).collect();
    let mut files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    files.push(("30.yaml", "services: {a: {image: i}}"));
    assert!(remarks(&files).contains("one file too many"));
}

#[test]
fn a_thousand_services_with_a_common_part() {
    let services: String = (0..1000).map(|n| format!("  s{n}:\n    <<: *common\n    hostname: h{n}\n")).collect();
    let text =
        format!("x-common: &common {{image: i, environment: {{A: 1}}, depends_on: [s0]}}\nservices:\n{services}");
    let project = load_text(&text.replace("depends_on: [s0]", "labels: [a=b]"));
    assert_eq!((project.services.len(), project.refusals.len()), (1000, 0));
    assert_eq!(project.services[999].network.hostname.as_deref(), Some("h999"));
    assert_eq!(load_text(&text).refusals.len(), 1, "s0 depends on itself");
}

#[test]
fn files_over_files_and_parts_of_them() {
    let (dir, mut request) = directory(&[
        (
            "c.yaml",
            "services:\n  a: {image: '${IMAGE}', ports: ['1', '2'], volumes: ['./x:/x'], env_file: e.env}\n  b: {extends: {file: sub/base.yaml, service: base}, environment: {B: 2}}\ninclude: [sub/inc.yaml]\n",
        ),
        ("o.yaml", "services:\n  a: {ports: !override ['3'], command: [c]}\n  b: {environment: !reset , user: u}\n"),
        (".env", "IMAGE=from-env\n"),
        ("e.env", "E='1'\n"),
        ("sub/base.yaml", "services:\n  base: {image: base, volumes: ['./y:/y'], environment: [A=1]}\n"),
        (
            "sub/inc.yaml",
            "services:\n  c: {image: 'c${T}', volumes: ['./z:/z'], networks: [n]}\nnetworks: {n: {internal: true}}\n",
        ),
        ("sub/.env", "T=:tag\nIMAGE=no\n"),
    ]);
    let project = load(&request).unwrap();
    assert_eq!(project.refusals, []);
    let all = plain(&json(&project)["services"], dir.path());
    let bind = |path: &str, target: &str| {
        let source = dir.path().join(path);
        let create = r#""bind":{"create_host_path":true},"source""#;
        format!(r#""volumes":[{{{create}:"{}","target":"{target}","type":"bind"}}]"#, source.display())
    };
    let wanted = format!(
        r#"{{"a":{{"environment":{{"E":"1"}},"image":"from-env","networks":{{"default":null}},"ports":[{{"mode":"ingress","protocol":"tcp","target":1}},{{"mode":"ingress","protocol":"tcp","target":2}}],{}}},"b":{{"environment":{{"A":"1","B":"2"}},"image":"base","networks":{{"default":null}},{}}},"c":{{"image":"c:tag","networks":{{"n":null}},{}}}}}"#,
        bind("x", "/x"),
        bind("sub/y", "/y"),
        bind("sub/z", "/z")
    );
    assert_eq!(all, plain(&wanted, dir.path()));
    assert_eq!(project.networks.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["default", "n"]);

    request.files.push(dir.path().join("o.yaml"));
    let project = load(&request).unwrap();
    let [a, b] = [0, 1].map(|at| &project.services[at]);
    assert_eq!(a.network.ports.iter().map(|port| port.port).collect::<Vec<_>>(), [3]);
    assert_eq!((a.command.as_deref(), b.run.user.as_deref()), (Some(&["c".to_owned()][..]), Some("u")));
    assert_eq!(b.env, []);
}

#[test]
fn which_services_are_there() {
    let text = "services:\n  web: {image: i, depends_on: {db: {condition: service_healthy, required: false}}}\n  db: {image: i, profiles: [store]}\n  tool: {build: ., profiles: [tools], unknown: key, links: [db]}\n";
    let (_dir, request) = directory(&[("c.yaml", text)]);
    let named = |request: &Request| {
        let project = load(request).unwrap();
        let names: Vec<_> = project.services.iter().map(|one| format!("{}*{}", one.name, one.replicas)).collect();
        (
            names.join(" "),
            project.refusals.len(),
            project.services.iter().map(|one| one.depends_on.len()).sum::<usize>(),
        )
    };
    assert_eq!(named(&request), ("web*1".into(), 0, 0));
    let with = |change: &dyn Fn(&mut Request)| {
        let mut request = request.clone();
        change(&mut request);
        named(&request)
    };
    let profile = |name: &str| with(&|request| request.profiles = vec![name.into()]);
    assert_eq!(profile("store"), ("web*1 db*1".into(), 0, 1));
    assert_eq!(profile("*"), ("web*1 db*1 tool*1".into(), 2, 2));
    assert_eq!(with(&|request| request.services = vec!["web".into()]), ("web*1 db*1".into(), 0, 1));
    assert_eq!(with(&|request| request.services = vec!["wbe".into()]), (String::new(), 1, 0));
    assert_eq!(with(&|request| request.scale = [("web".to_owned(), 3)].into()), ("web*3".into(), 0, 0));
    let tool = with(&|request| {
        request.services = vec!["tool".into()];
        request.images.insert("tool".into(), "t".into());
    });
    assert_eq!(tool, ("db*1 tool*1".into(), 1, 1));
}
