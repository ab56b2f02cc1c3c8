//! Just enough HTTP for `curl` and a browser: one request a connection.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The longest request head taken.
const MAX_HEAD: usize = 8 << 10;

/// A client gets this long for its request, and for reading the answer.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Answers one request with what `view` renders, within `timeout`. What goes wrong concerns only that client.
pub(super) async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    view: impl Fn() -> String,
    timeout: Duration,
) {
    let talk = async {
        let head = read_head(&mut stream).await?;
        stream.write_all(respond(&head, view).as_bytes()).await?;
        stream.shutdown().await
    };
    let _ = tokio::time::timeout(timeout, talk).await;
}

/// Reads up to the empty line; the body, if any, is left unread.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(1024);
    while head.len() < MAX_HEAD && !head.windows(4).any(|w| w == b"\r\n\r\n") && !head.windows(2).any(|w| w == b"\n\n")
    {
        if stream.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    Ok(head)
}

fn respond(head: &[u8], view: impl Fn() -> String) -> String {
    let (status, body, shown) = match head.split(|&b| b == b' ').next() {
        Some(b"GET") => ("200 OK", view(), true),
        Some(b"HEAD") => ("200 OK", view(), false),
        Some(method) if !method.is_empty() && method.iter().all(u8::is_ascii_uppercase) => {
            ("405 Method Not Allowed\r\nAllow: GET, HEAD", "{\"error\":\"only GET\"}\n".to_owned(), true)
        }
        _ => ("400 Bad Request", "{\"error\":\"not HTTP\"}\n".to_owned(), true),
    };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
        body.len(),
        if shown { &body } else { "" }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(request: &[u8]) -> String {
        let (mut client, server) = tokio::io::duplex(64 << 10);
        client.write_all(request).await.unwrap();
        answer(server, || "{\"a\":1}\n".to_owned(), REQUEST_TIMEOUT).await;
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn any_get_shows_the_view() {
        let text = ask(b"GET /any/thing HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"));
        assert!(text.contains("\r\nContent-Length: 8\r\n"));
        assert!(text.ends_with("\r\n\r\n{\"a\":1}\n"));
        assert!(ask(b"GET / HTTP/1.0\n\n").await.ends_with("{\"a\":1}\n"));
        let head = ask(b"HEAD / HTTP/1.1\r\n\r\n").await;
        assert!(head.contains("Content-Length: 8\r\n") && head.ends_with("\r\n\r\n"));
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let text = ask(b"POST / HTTP/1.1\r\n\r\n").await;
        assert!(text.starts_with("HTTP/1.1 405 ") && text.contains("\r\nAllow: GET, HEAD\r\n"));
        assert!(ask(&[0; MAX_HEAD]).await.starts_with("HTTP/1.1 400 "));
    }

    #[tokio::test]
    async fn a_client_that_says_nothing_is_dropped() {
        let (_client, server) = tokio::io::duplex(64);
        answer(server, String::new, Duration::from_millis(10)).await;
    }
}
