//! The options of the attributes.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Expr, ExprLit, Lit, LitStr, Meta, Result, Token};

use crate::duration::milliseconds;

/// Options of `#[workflow]`.
#[derive(Default)]
pub(crate) struct WorkflowOptions {
    pub(crate) name: Option<LitStr>,
    pub(crate) queue: Option<LitStr>,
}

/// Options of `#[activity]`.
#[derive(Default)]
pub(crate) struct ActivityOptions {
    pub(crate) name: Option<LitStr>,
    queue: Option<LitStr>,
    fields: Vec<TokenStream>,
    retry: Vec<TokenStream>,
}

impl WorkflowOptions {
    pub(crate) fn parse(tokens: TokenStream) -> Result<Self> {
        let mut options = Self::default();
        for meta in metas(tokens)? {
            match key(&meta)?.as_str() {
                "name" => options.name = Some(checked_name(&meta)?),
                "queue" => options.queue = Some(checked_name(&meta)?),
                _ => return Err(Error::new(meta.path().span(), "expected `queue` or `name`")),
            }
        }
        Ok(options)
    }
}

impl ActivityOptions {
    pub(crate) fn parse(tokens: TokenStream) -> Result<Self> {
        let mut options = Self::default();
        for meta in metas(tokens)? {
            match key(&meta)?.as_str() {
                "name" => options.name = Some(checked_name(&meta)?),
                "queue" => options.queue = Some(checked_name(&meta)?),
                "start_to_close" => options.duration(&meta, quote!(start_to_close_ms))?,
                "schedule_to_start" => options.duration(&meta, quote!(schedule_to_start_ms))?,
                "schedule_to_close" => options.duration(&meta, quote!(schedule_to_close_ms))?,
                "heartbeat" => options.duration(&meta, quote!(heartbeat_timeout_ms))?,
                "retry" => options.retry = retry(&meta)?,
                _ => {
                    let expected = "expected `start_to_close`, `schedule_to_start`, `schedule_to_close`, \
                                    `heartbeat`, `queue`, `name` or `retry(…)`";
                    return Err(Error::new(meta.path().span(), expected));
                }
            }
        }
        Ok(options)
    }

    /// The expression of a `stepwell::ActivityDefaults`.
    pub(crate) fn defaults(&self) -> TokenStream {
        let (fields, retry) = (&self.fields, &self.retry);
        let queue = match &self.queue {
            Some(queue) => quote!(::core::option::Option::Some(#queue)),
            None => quote!(::core::option::Option::None),
        };
        quote! {{
            let mut defaults = ::stepwell::ActivityDefaults::default();
            #(defaults.options.#fields;)*
            #(defaults.options.retry.#retry;)*
            defaults.queue = #queue;
            defaults
        }}
    }

    fn duration(&mut self, meta: &Meta, field: TokenStream) -> Result<()> {
        let value = milliseconds(&text(meta)?)?;
        self.fields.push(quote!(#field = ::core::option::Option::Some(#value)));
        Ok(())
    }
}

fn retry(meta: &Meta) -> Result<Vec<TokenStream>> {
    let list = meta.require_list()?;
    let mut fields = Vec::new();
    for meta in metas(list.tokens.clone())? {
        let value = match key(&meta)?.as_str() {
            "max_attempts" => {
                let value = &meta.require_name_value()?.value;
                if matches!(value, Expr::Lit(ExprLit { lit: Lit::Int(int), .. }) if int.base10_digits() == "0")
                {
                    return Err(Error::new(
                        value.span(),
                        "at least one attempt is needed; leave it out for no limit",
                    ));
                }
                quote!(maximum_attempts = ::core::option::Option::Some(#value))
            }
            "initial" => {
                let value = milliseconds(&text(&meta)?)?;
                quote!(initial_interval_ms = #value)
            }
            "max_interval" => {
                let value = milliseconds(&text(&meta)?)?;
                quote!(maximum_interval_ms = ::core::option::Option::Some(#value))
            }
            "coefficient" => {
                let value = &meta.require_name_value()?.value;
                quote!(backoff_coefficient = #value)
            }
            "jitter" => {
                let value = &meta.require_name_value()?.value;
                quote!(jitter = #value)
            }
            "non_retryable" => {
                let value = &meta.require_name_value()?.value;
                let Expr::Array(types) = value else {
                    return Err(Error::new(
                        value.span(),
                        "expected a list of failure types, such as [\"CardDeclined\"]",
                    ));
                };
                let types = types.elems.iter();
                quote!(non_retryable = ::std::vec![#(::std::string::String::from(#types)),*])
            }
            _ => {
                let expected = "expected `max_attempts`, `initial`, `coefficient`, `max_interval`, `jitter` or \
                                `non_retryable`";
                return Err(Error::new(meta.path().span(), expected));
            }
        };
        fields.push(value);
    }
    Ok(fields)
}

fn metas(tokens: TokenStream) -> Result<Punctuated<Meta, Token![,]>> {
    Punctuated::<Meta, Token![,]>::parse_terminated.parse2(tokens)
}

fn key(meta: &Meta) -> Result<String> {
    Ok(meta.path().require_ident()?.to_string())
}

fn text(meta: &Meta) -> Result<LitStr> {
    let value = &meta.require_name_value()?.value;
    if let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = value {
        return Ok(text.clone());
    }
    Err(Error::new(value.span(), "expected a text in quotes"))
}

/// A name that can be part of a subject.
fn checked_name(meta: &Meta) -> Result<LitStr> {
    let literal = text(meta)?;
    let value = literal.value();
    let sound = !value.is_empty()
        && value.len() <= 128
        && value.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if sound {
        return Ok(literal);
    }
    Err(Error::new(literal.span(), "use 1 to 128 ASCII letters, digits, '_' and '-'"))
}
