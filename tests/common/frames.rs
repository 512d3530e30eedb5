//! Frames of HTTP/2 (RFC 9113), as bytes.

/// The first words of a client.
pub fn hello() -> Vec<u8> {
    hello_with(&[])
}

/// The same, and that no stream of it has room for anything.
pub fn hello_without_windows() -> Vec<u8> {
    hello_with(&[0, 4, 0, 0, 0, 0])
}

fn hello_with(settings: &[u8]) -> Vec<u8> {
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, settings)].concat()
}

/// A GET request that is complete.
pub fn get(stream: u32, path: &str) -> Vec<u8> {
    // HPACK (RFC 7541): `:method: GET`, `:scheme: https`, then two names of the static table with
    // values as they are.
    let mut block = vec![0x82, 0x87];
    named(&mut block, &[0x04], path);
    named(&mut block, &[0x01], "127.0.0.1");
    frame(1, 0x5, stream, &block)
}

/// The same with so many fields more, each of which is named in one byte; in as many frames as that needs.
pub fn get_with(stream: u32, path: &str, fields: usize) -> Vec<u8> {
    const FRAME_BYTES_MAX: usize = 16_384;
    let mut block = vec![0x82, 0x87];
    named(&mut block, &[0x04], path);
    named(&mut block, &[0x01], "127.0.0.1");
    // `accept-encoding: gzip, deflate`
    block.extend(vec![0x90; fields]);
    let parts: Vec<&[u8]> = block.chunks(FRAME_BYTES_MAX).collect();
    let last = parts.len() - 1;
    let each = parts.iter().enumerate().map(|(at, part)| {
        let (kind, begins) = if at == 0 { (1, 0x1) } else { (9, 0) };
        frame(kind, begins | if at == last { 0x4 } else { 0 }, stream, part)
    });
    each.collect::<Vec<_>>().concat()
}

/// A POST request of a program that is complete.
pub fn post(stream: u32, path: &str, key: &str, body: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x87];
    named(&mut block, &[0x04], path);
    named(&mut block, &[0x01], "127.0.0.1");
    // `authorization` and `content-type`, whose places take two bytes.
    named(&mut block, &[0x0f, 23 - 15], &format!("Bearer {key}"));
    named(&mut block, &[0x0f, 31 - 15], "application/json");
    [frame(1, 0x4, stream, &block), frame(0, 0x1, stream, body.as_bytes())].concat()
}

/// That the client wants nothing more of a stream.
pub fn reset(stream: u32) -> Vec<u8> {
    const CANCEL: u32 = 8;
    frame(3, 0, stream, &CANCEL.to_be_bytes())
}

/// A header whose name is that of a place in the static table.
fn named(block: &mut Vec<u8>, place: &[u8], value: &str) {
    block.extend(place);
    block.push(u8::try_from(value.len()).ok().filter(|length| *length < 127).expect("short"));
    block.extend(value.as_bytes());
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head[..], payload].concat()
}

/// The frames that are whole: kind, stream, payload.
pub fn read(mut bytes: &[u8]) -> Vec<(u8, u32, &[u8])> {
    let mut found = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<9>() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        if rest.len() < length {
            break;
        }
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        found.push((head[3], stream, &rest[..length]));
        bytes = &rest[length..];
    }
    found
}
