//! What workflows and activities have in common: a context, an input made of the other parameters, and a
//! `Result`.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote};
use syn::spanned::Spanned;
use syn::{Error, FnArg, Result, ReturnType, Signature, Type};

/// The parts of a function that an attribute needs.
pub(crate) struct Parts {
    /// The type of the input: `()`, the one parameter's type, or a tuple.
    pub(crate) input: TokenStream,
    /// The function's return type.
    pub(crate) output: Type,
    /// A pattern that takes the input apart.
    pub(crate) pattern: TokenStream,
    /// The names in the pattern, as arguments.
    pub(crate) arguments: Vec<Ident>,
}

/// Reads a signature whose first parameter (after `&self`, for a method) is the context.
pub(crate) fn parts(signature: &Signature, context: &str, method: bool) -> Result<Parts> {
    let attribute = if context == "WorkflowContext" { "a workflow" } else { "an activity" };
    if signature.asyncness.is_none() {
        let message = format!("{attribute} must be an `async fn`");
        return Err(Error::new(signature.fn_token.span(), message));
    }
    if !signature.generics.params.is_empty() {
        let message =
            format!("{attribute} cannot be generic: its name stands for one input and one output type");
        return Err(Error::new(signature.generics.span(), message));
    }
    let mut inputs = signature.inputs.iter();
    if method {
        match inputs.next() {
            Some(FnArg::Receiver(receiver)) if receiver.mutability.is_none() => {}
            other => {
                let span = other.map_or_else(|| signature.ident.span(), Spanned::span);
                return Err(Error::new(
                    span,
                    "an activity method takes `&self` first: it may run many times at once",
                ));
            }
        }
    }
    let missing = |span: Span| Error::new(span, format!("{attribute} takes a `{context}` first"));
    match inputs.next() {
        Some(FnArg::Typed(typed)) if is_context(&typed.ty, context) => {}
        Some(other) => return Err(missing(other.span())),
        None => return Err(missing(signature.ident.span())),
    }
    let mut types = Vec::new();
    for input in inputs {
        match input {
            FnArg::Typed(typed) => types.push((*typed.ty).clone()),
            FnArg::Receiver(receiver) => {
                return Err(Error::new(
                    receiver.span(),
                    "put methods into an `impl` block with `#[activities]`",
                ));
            }
        }
    }
    let output = match &signature.output {
        ReturnType::Type(_, output) => (**output).clone(),
        ReturnType::Default => {
            let message = format!("{attribute} returns a `Result`");
            return Err(Error::new(signature.ident.span(), message));
        }
    };
    let arguments: Vec<Ident> = (0..types.len()).map(|index| format_ident!("argument_{index}")).collect();
    let (input, pattern) = match (types.as_slice(), arguments.as_slice()) {
        ([only], [name]) => (quote!(#only), quote!(#name)),
        (types, names) => (quote!((#(#types,)*)), quote!((#(#names,)*))),
    };
    Ok(Parts { input, output, pattern, arguments })
}

fn is_context(ty: &Type, context: &str) -> bool {
    let Type::Path(path) = ty else { return false };
    path.path.segments.last().is_some_and(|segment| segment.ident == context)
}
