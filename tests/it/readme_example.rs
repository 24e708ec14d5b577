use annals::{Expected, NewEvent, Store, StreamId};

#[test]
fn an_invoice_is_paid_once() -> annals::Result<()> {
    let (store, invoice) = (Store::in_memory(), StreamId::new("Invoice", "invoice-17"));
    store.append(&invoice, Expected::NoStream, [NewEvent::new("InvoiceIssued").data(r#"{"amount": 250}"#)])?;
    store.append(&invoice, Expected::exactly(1), [NewEvent::new("InvoicePaid").user("anna")])?;
    let again = store.append(&invoice, Expected::exactly(1), [NewEvent::new("InvoicePaid").user("ben")]);
    assert_eq!(again.unwrap_err().to_string(), "aggregate 'invoice-17' is at version 2, expected version 1");
    Ok(())
}
