//! Decodes messages of PostgreSQL's logical decoding plug-in `pgoutput`, protocol version 1 with binary values: inserts into the table
//! `events`. "Logical Replication Message Formats" in PostgreSQL's manual specifies every byte.

use hashbrown::HashMap;

use super::super::row::{COLUMNS, Row, TABLE};

/// The most columns of a table, which is PostgreSQL's limit.
const COLUMNS_MAX: usize = 1_600;

/// A decoded message.
#[derive(Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a message is decoded and dropped at once")]
pub(super) enum Message<'a> {
    /// A row was inserted.
    Insert(Row<'a>),
    /// The end of a transaction, with its place in the log of the server.
    Commit { end: u64 },
    /// Any other message.
    Other,
}

/// Why a message cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct BadMessage(&'static str);

const CUT: BadMessage = BadMessage("it is truncated");

/// Decodes a sequence of messages, in which the description of a table precedes its rows.
#[derive(Debug)]
pub(super) struct Decoder {
    /// The OIDs of the store's table `events` and of its partitions. A publication may contain tables of the same name in other
    /// schemas.
    own: Vec<u32>,
    /// The index in [`TABLE`] of each column, by the OID of the table; `None` for other tables.
    tables: HashMap<u32, Option<Vec<Option<usize>>>, foldhash::fast::RandomState>,
}

impl Decoder {
    /// Creates a decoder for the rows of these tables.
    pub(super) fn of(own: Vec<u32>) -> Self {
        Self {
            own,
            tables: HashMap::default(),
        }
    }

    pub(super) fn decode<'a>(&mut self, message: &'a [u8]) -> Result<Message<'a>, BadMessage> {
        let mut rest = message;
        let [kind] = take(&mut rest)?;
        match kind {
            b'R' => self.table(rest).map(|()| Message::Other),
            b'I' => Ok(self.insert(rest)?.map_or(Message::Other, Message::Insert)),
            b'C' => commit(rest),
            _ => Ok(Message::Other),
        }
    }

    fn table(&mut self, mut rest: &[u8]) -> Result<(), BadMessage> {
        let rest = &mut rest;
        let number = u32::from_be_bytes(take(rest)?);
        let (_schema, _name) = (text(rest)?, text(rest)?);
        let [_identity] = take(rest)?;
        let count = usize::from(u16::from_be_bytes(take(rest)?));
        if !self.own.contains(&number) || count > COLUMNS_MAX {
            self.tables.insert(number, None);
            return Ok(());
        }
        let mut columns = Vec::with_capacity(count);
        for _ in 0..count {
            let [_flags] = take(rest)?;
            let name = text(rest)?;
            let (_type, _modifier): ([u8; 4], [u8; 4]) = (take(rest)?, take(rest)?);
            columns.push(TABLE.iter().position(|(known, _)| known.as_bytes() == name));
        }
        self.tables.insert(number, Some(columns));
        Ok(())
    }

    /// A row of the store's table; `None` for a row of another table.
    fn insert<'a>(&self, mut rest: &'a [u8]) -> Result<Option<Row<'a>>, BadMessage> {
        let rest = &mut rest;
        let number = u32::from_be_bytes(take(rest)?);
        let known = self.tables.get(&number);
        let Some(columns) = known.ok_or(BadMessage("its table was not described"))? else {
            return Ok(None);
        };
        let [new] = take(rest)?;
        let count = usize::from(u16::from_be_bytes(take(rest)?));
        if new != b'N' || count != columns.len() {
            return Err(BadMessage("it does not match the description of its table"));
        }
        let mut row = [None; COLUMNS];
        for column in columns {
            let value = value(rest)?;
            if let Some(field) = column.and_then(|column| row.get_mut(column)) {
                *field = value;
            }
        }
        Ok(Some(row))
    }
}

fn commit<'a>(mut rest: &[u8]) -> Result<Message<'a>, BadMessage> {
    let rest = &mut rest;
    let ([_flags], _commit): ([u8; 1], [u8; 8]) = (take(rest)?, take(rest)?);
    let end = u64::from_be_bytes(take(rest)?);
    Ok(Message::Commit { end })
}

fn value<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, BadMessage> {
    let [kind] = take(rest)?;
    match kind {
        b'n' => Ok(None),
        b'b' => {
            let length = u32::from_be_bytes(take(rest)?) as usize;
            let (value, behind) = rest.split_at_checked(length).ok_or(CUT)?;
            *rest = behind;
            Ok(Some(value))
        }
        _ => Err(BadMessage("a value is not binary: PostgreSQL 14 or later is required")),
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], BadMessage> {
    let (bytes, behind) = rest.split_first_chunk().ok_or(CUT)?;
    *rest = behind;
    Ok(*bytes)
}

/// A zero-terminated text.
fn text<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], BadMessage> {
    let end = rest.iter().position(|byte| *byte == 0).ok_or(CUT)?;
    let (text, behind) = rest.split_at(end);
    *rest = behind.get(1..).ok_or(CUT)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TABLE_MESSAGE: &[u8] = b"R\0\0\0\x07annals\0events\0d\0\x02\0data\0\0\0\x0e\xda\xff\xff\xff\xff\
        \x01position\0\0\0\0\x14\xff\xff\xff\xff";

    #[test]
    fn a_row_is_told_by_the_names_of_its_columns() {
        let mut decoder = Decoder::of(vec![7]);
        let row = b"I\0\0\0\x07N\0\x02nb\0\0\0\x08\0\0\0\0\0\0\0\x05";
        assert!(decoder.decode(row).is_err(), "the table was not told of");
        assert_eq!(decoder.decode(TABLE_MESSAGE), Ok(Message::Other));
        let mut expected = [None; COLUMNS];
        expected[0] = Some(&[0, 0, 0, 0, 0, 0, 0, 5][..]);
        assert_eq!(decoder.decode(row), Ok(Message::Insert(expected)));
        for length in 1..row.len() {
            assert!(decoder.decode(&row[..length]).is_err(), "{length}");
        }
        let commit = b"C\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\0";
        assert_eq!(decoder.decode(commit), Ok(Message::Commit { end: 2 }));
    }

    #[test]
    fn rows_of_a_table_of_the_same_name_were_taken_for_events() {
        let mut decoder = Decoder::of(vec![8]);
        let row = b"I\0\0\0\x07N\0\x02nb\0\0\0\x08\0\0\0\0\0\0\0\x05";
        assert_eq!(decoder.decode(TABLE_MESSAGE), Ok(Message::Other));
        assert_eq!(decoder.decode(row), Ok(Message::Other));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0..4_usize) {
            let mut decoder = Decoder::of(vec![7]);
            decoder.decode(TABLE_MESSAGE).expect("a table");
            let mut message = vec![b"RICB"[kind]];
            message.extend_from_slice(&bytes);
            drop(decoder.decode(&message));
        }
    }
}
