//! The checks that every workflow and activity function passes, and what is taken from its signature.

use proc_macro2::{Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, Error, FnArg, PatType, Receiver, ReceiverKind, Result, ReturnType, Signature, Type};

/// Most values of an input. Longer tuples have no JSON form.
const MAX_ARGUMENTS: usize = 12;

/// What kind of function it is, for messages and checks.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    /// Such as "a workflow".
    pub(crate) what: &'static str,
    /// The type of the first argument.
    pub(crate) context: &'static str,
    /// The error type.
    pub(crate) error: &'static str,
    /// What to do about a `self`.
    pub(crate) method: &'static str,
}

/// A signature that passed.
pub(crate) struct Function {
    /// The function's name.
    pub(crate) ident: Ident,
    /// The name without `r#`.
    pub(crate) name: String,
    /// The types of the arguments after the context.
    pub(crate) arguments: Vec<Type>,
    /// What it returns.
    pub(crate) output: Type,
}

impl Function {
    /// A free function.
    pub(crate) fn free(signature: &Signature, kind: Kind) -> Result<Self> {
        if let Some(receiver) = signature.receiver() {
            return Err(Error::new_spanned(receiver, kind.method));
        }
        Self::checked(signature, signature.inputs.iter(), kind)
    }

    /// A method with `&self`.
    pub(crate) fn method(signature: &Signature, kind: Kind) -> Result<Self> {
        const SELF: &str =
            "a method that is an activity takes `&self`, because it may run many times at once";
        match signature.receiver() {
            Some(receiver) if by_shared_reference(receiver) => {}
            Some(receiver) => return Err(Error::new_spanned(receiver, SELF)),
            None => {
                let message = format!("{SELF}; without it, make it a free function with `#[activity]`");
                return Err(Error::new_spanned(&signature.ident, message));
            }
        }
        Self::checked(signature, signature.inputs.iter().skip(1), kind)
    }

    fn checked<'a>(
        signature: &Signature,
        arguments: impl Iterator<Item = &'a FnArg>,
        kind: Kind,
    ) -> Result<Self> {
        let Kind { what, context, error, .. } = kind;
        if signature.asyncness.is_none() {
            let message = format!("{what} is an `async fn`: write `async` before `fn`");
            return Err(Error::new(signature.fn_token.span(), message));
        }
        check_plain(signature, what)?;
        let mut arguments = arguments.filter_map(|argument| match argument {
            FnArg::Typed(argument) => Some(argument),
            FnArg::Receiver(_) => None,
        });
        let missing = || format!("{what}'s first argument is its context: write `ctx: {context}`");
        match arguments.next() {
            Some(first) if is_named(&first.ty, context) => {}
            Some(first) => return Err(Error::new_spanned(first, missing())),
            None => return Err(Error::new_spanned(&signature.ident, missing())),
        }
        let arguments = arguments.map(argument_type).collect::<Result<Vec<_>>>()?;
        if let Some(extra) = arguments.get(MAX_ARGUMENTS) {
            let message = format!("{what} takes at most {MAX_ARGUMENTS} values; put them into a struct");
            return Err(Error::new_spanned(extra, message));
        }
        let output = match &signature.output {
            ReturnType::Type(_, output) => (**output).clone(),
            ReturnType::Default => {
                let message = format!("{what} returns a result: write `-> Result<(), {error}>`");
                return Err(Error::new_spanned(&signature.ident, message));
            }
        };
        let ident = signature.ident.clone();
        Ok(Self { name: ident.unraw().to_string(), ident, arguments, output })
    }

    /// `()`, the one type, or a tuple.
    pub(crate) fn input_type(&self) -> TokenStream {
        match self.arguments.as_slice() {
            [] => quote!(()),
            [one] => one.to_token_stream(),
            all => quote!((#(#all),*)),
        }
    }

    /// The pattern that takes an input apart, and the arguments that it gives.
    pub(crate) fn take_apart(&self) -> (TokenStream, Vec<Ident>) {
        let names: Vec<Ident> = (0..self.arguments.len())
            .map(|index| format_ident!("__argument{index}", span = Span::mixed_site()))
            .collect();
        let pattern = match names.as_slice() {
            [] => quote!(()),
            [one] => quote!(#one),
            all => quote!((#(#all),*)),
        };
        (pattern, names)
    }

    /// The `T` of the `Result<T, E>` that it returns.
    pub(crate) fn value_type(&self) -> TokenStream {
        let output = &self.output;
        quote_spanned!(output.span()=> <#output as ::stepwell::__private::Returned>::Value)
    }
}

/// Documentation, and what decides whether the item exists at all.
pub(crate) fn inherited(attributes: &[Attribute]) -> Vec<&Attribute> {
    attributes.iter().filter(|attribute| is(attribute, "doc") || is(attribute, "cfg")).collect()
}

/// What decides whether the item exists at all.
pub(crate) fn conditions(attributes: &[Attribute]) -> Vec<&Attribute> {
    attributes.iter().filter(|attribute| is(attribute, "cfg")).collect()
}

/// Whether an attribute has this name, with or without a path before it.
pub(crate) fn is(attribute: &Attribute, name: &str) -> bool {
    attribute.path().segments.last().is_some_and(|segment| segment.ident == name)
}

/// The tokens with every `Self` replaced: outside of the `impl` it would mean another type.
pub(crate) fn without_self(tokens: TokenStream, self_type: &Type) -> TokenStream {
    let replace = |token| match token {
        TokenTree::Ident(ident) if ident == "Self" => self_type.to_token_stream(),
        TokenTree::Group(group) => {
            let mut inner = Group::new(group.delimiter(), without_self(group.stream(), self_type));
            inner.set_span(group.span());
            TokenTree::Group(inner).into()
        }
        token @ (TokenTree::Ident(_) | TokenTree::Punct(_) | TokenTree::Literal(_)) => token.into(),
    };
    tokens.into_iter().map(replace).collect::<Vec<TokenStream>>().into_iter().collect()
}

fn by_shared_reference(receiver: &Receiver) -> bool {
    matches!(receiver.kind, ReceiverKind::Reference(_, _, None))
}

fn check_plain(signature: &Signature, what: &str) -> Result<()> {
    let generics = &signature.generics;
    if !generics.params.is_empty() || generics.where_clause.is_some() {
        let message = format!("{what} cannot be generic: it is found by its name alone");
        return Err(Error::new_spanned(&signature.generics, message));
    }
    if let Some(constness) = &signature.constness {
        return Err(Error::new_spanned(constness, format!("{what} cannot be `const`")));
    }
    if let Some(abi) = &signature.abi {
        return Err(Error::new_spanned(abi, format!("{what} cannot be `extern`")));
    }
    if let syn::Safety::Unsafe(token) = &signature.safety {
        return Err(Error::new_spanned(token, format!("{what} cannot be `unsafe`")));
    }
    Ok(())
}

fn argument_type(argument: &PatType) -> Result<Type> {
    const OWNED: &str = "an argument is decoded from JSON, so its type must be owned and spelt out";
    if let Type::Reference(_) = &*argument.ty {
        return Err(Error::new_spanned(&argument.ty, format!("{OWNED}, such as `String` for `&str`")));
    }
    if let Type::ImplTrait(_) | Type::Infer(_) = &*argument.ty {
        return Err(Error::new_spanned(&argument.ty, OWNED));
    }
    Ok((*argument.ty).clone())
}

fn is_named(ty: &Type, name: &str) -> bool {
    if let Type::Group(group) = ty {
        return is_named(&group.elem, name);
    }
    if let Type::Path(path) = ty {
        path.path.segments.last().is_some_and(|segment| segment.ident == name)
    } else {
        false
    }
}
