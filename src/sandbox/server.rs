//! The request loop inside the sandbox.

use std::io::{self, BufRead, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use super::address;
use super::namespace::Namespace;
use super::protocol::{Aborted, Answer, Applied, Connected, Hello, MAX_LINE, Reply, Request};

/// Buffer space kept from one request to the next; more is given back.
const KEPT: usize = 16 << 10;

/// How long a connection to ourselves may take. It is accepted or refused at once, unless too many wait for the node.
const CONNECT: Duration = Duration::from_millis(500);

/// Answers each line of `input` with one line on `output`, until end of file.
///
/// A request whose number is not above those before it is refused: it was sent over an earlier connection, and given up
/// there, before others that were answered.
///
/// # Errors
/// Only when reading or writing fails: a bad request is answered, and the next one read.
pub fn serve(mut input: impl BufRead, mut output: impl Write, namespace: &mut impl Namespace) -> io::Result<()> {
    let mut line = Vec::new();
    let mut out = Vec::new();
    let mut last = None;
    loop {
        let answer = match read_line(&mut input, &mut line)? {
            Line::End => return Ok(()),
            Line::TooLong => refuse(None, format!("a request is at most {MAX_LINE} bytes long")),
            Line::Whole => answer(&line, &mut last, namespace),
        };
        // One write, so that a line is never seen in parts for longer than needed.
        serde_json::to_writer(&mut out, &answer)?;
        out.push(b'\n');
        output.write_all(&out)?;
        output.flush()?;
        for buffer in [&mut line, &mut out] {
            buffer.clear();
            buffer.shrink_to(KEPT);
        }
    }
}

/// `last` is the highest number of a request so far.
fn answer(line: &[u8], last: &mut Option<u64>, namespace: &mut impl Namespace) -> Answer {
    // In two steps, so that a request we don't understand still gets its number back.
    let value: serde_json::Value = match serde_json::from_slice(line) {
        Ok(value) => value,
        Err(error) => return refuse(None, format!("not a JSON request: {error}")),
    };
    let id = value.get("id").and_then(serde_json::Value::as_u64);
    let request = match serde_json::from_value(value) {
        Ok(request) => request,
        Err(error) => return refuse(id, format!("bad request: {error}")),
    };
    if id.is_some() {
        if id <= *last {
            return refuse(id, "a later request has come before it".to_owned());
        }
        *last = id;
    }
    match execute(request, namespace) {
        Ok(reply) => Answer { ok: true, id, error: None, reply: Some(reply) },
        Err(error) => refuse(id, error),
    }
}

/// Does what is asked; the error is a sentence for the daemon's user.
fn execute(request: Request, namespace: &mut impl Namespace) -> Result<Reply, String> {
    match request {
        Request::Hello => {
            Ok(Reply::Hello(Hello { version: env!("CARGO_PKG_VERSION").to_owned(), addresses: addresses()? }))
        }
        Request::Connect { address, port } => {
            let address = SocketAddr::from((address, port));
            let there = TcpStream::connect_timeout(&address, CONNECT).and_then(|there| {
                if is_its_own(&there, address) { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok(()) }
            });
            let error = there.err().map(|error| error.kind().to_string());
            Ok(Reply::Connected(Connected { connected: error.is_none(), error }))
        }
        Request::Probe => Ok(Reply::Capabilities(namespace.probe()?)),
        Request::Apply { kernel, desired } => {
            namespace.apply(&kernel, &desired)?;
            Ok(Reply::Applied(Applied { addresses: addresses()? }))
        }
        Request::Abort => Ok(Reply::Aborted(Aborted { sockets: namespace.abort()? })),
    }
}

fn addresses() -> Result<Vec<Ipv4Addr>, String> {
    address::own().map_err(|error| format!("cannot find our addresses: {error}"))
}

/// If nothing listens, a connection whose own port happens to be the one it asks for connects to itself.
fn is_its_own(connection: &TcpStream, address: SocketAddr) -> bool {
    connection.local_addr().is_ok_and(|own| own == address)
}

fn refuse(id: Option<u64>, error: String) -> Answer {
    Answer { ok: false, id, error: Some(error), reply: None }
}

enum Line {
    /// One line is in the buffer, without its newline. The last one needs none.
    Whole,
    /// It was longer than [`MAX_LINE`]; it has been read and dropped.
    TooLong,
    End,
}

fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Line> {
    let read = input.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', line)?;
    if read == 0 {
        return Ok(Line::End);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Line::Whole);
    }
    if read <= MAX_LINE {
        return Ok(Line::Whole);
    }
    line.clear();
    loop {
        let (used, done) = match input.fill_buf() {
            Ok([]) => (0, true),
            Ok(buffer) => match buffer.iter().position(|&b| b == b'\n') {
                Some(at) => (at + 1, true),
                None => (buffer.len(), false),
            },
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (0, false),
            Err(error) => return Err(error),
        };
        input.consume(used);
        if done {
            return Ok(Line::TooLong);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::namespace::FakeNamespace;
    use super::*;

    fn ask(input: impl AsRef<[u8]>) -> Vec<serde_json::Value> {
        let mut output = Vec::new();
        serve(io::BufReader::new(input.as_ref()), &mut output, &mut FakeNamespace::default()).unwrap();
        assert!(output.is_empty() || output.ends_with(b"\n"));
        let text = String::from_utf8(output).unwrap();
        text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    }

    #[test]
    fn hello_says_version_and_addresses() {
        let answers = ask("{\"op\":\"hello\"}\n");
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0]["ok"], true);
        assert_eq!(answers[0]["version"], env!("CARGO_PKG_VERSION"));
        assert!(answers[0]["addresses"].is_array());
        assert!(answers[0].get("id").is_none() && answers[0].get("error").is_none());
    }

    #[test]
    fn a_connection_to_itself_is_no_listener() {
        use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
        let own = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&own, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let own = TcpStream::from(own);
        let address = own.local_addr().unwrap();
        connect(&own, &address).unwrap();
        assert_eq!(own.peer_addr().unwrap(), address);
        assert!(is_its_own(&own, address));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(!is_its_own(&TcpStream::connect(address).unwrap(), address));
    }

    #[test]
    fn end_of_file_is_a_success() {
        assert!(ask("").is_empty());
    }

    #[test]
    fn a_last_line_without_newline_counts() {
        assert_eq!(ask("{\"op\":\"hello\",\"id\":7}")[0]["id"], 7);
    }

    #[test]
    fn bad_requests_are_answered_and_passed_over() {
        let mut input = b"\nhello\n{\"op\":\"dance\",\"id\":3}\n[]\n17\n{}\n\xff\xfe\n{\"op\":4}\n".to_vec();
        input.extend(b"{\"op\":\"hello\"}\n");
        let answers = ask(input);
        assert_eq!(answers.len(), 9);
        for bad in &answers[..8] {
            assert_eq!(bad["ok"], false);
            assert!(bad["error"].as_str().is_some_and(|e| !e.is_empty()));
        }
        assert_eq!(answers[2]["id"], 3, "an unknown op keeps its number");
        assert_eq!(answers[8]["ok"], true);
    }

    #[test]
    fn a_request_that_comes_late_is_not_carried_out() {
        let lines = [(7, true), (6, false), (7, false), (8, true)];
        let input: String = lines.iter().map(|(id, _)| format!("{{\"op\":\"hello\",\"id\":{id}}}\n")).collect();
        let answers = ask(input);
        let told: Vec<_> = answers.iter().map(|a| (a["id"].as_u64().unwrap(), a["ok"].as_bool().unwrap())).collect();
        assert_eq!(told, lines);
    }

    #[test]
    fn a_line_too_long_is_refused_and_the_next_one_served() {
        for extra in [1, 2, 5000] {
            let mut input = vec![b' '; MAX_LINE + extra];
            input.extend(b"\n{\"op\":\"hello\"}\n");
            let answers = ask(input);
            assert_eq!(answers.len(), 2);
            assert_eq!(answers[0]["ok"], false);
            assert_eq!(answers[1]["ok"], true);
        }
        // Exactly at the limit it still counts, and an endless last line ends.
        let mut input = b"{\"op\":\"hello\"}".to_vec();
        input.resize(MAX_LINE, b' ');
        input.push(b'\n');
        assert_eq!(ask(input)[0]["ok"], true);
        let answers = ask(vec![b'x'; 3 * MAX_LINE]);
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0]["ok"], false);
    }
}
