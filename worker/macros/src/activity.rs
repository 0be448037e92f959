//! `#[activity]` on a free function, and what all three macros have in common.
//!
//! A function `f` becomes a type `f` and a function `f()` that makes a value of it. The function is there
//! because a unit struct could not be shadowed: `let charge = ctx.run(charge, order).await?` would not
//! compile.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};
use syn::{Attribute, ItemFn, Result, Visibility};

use crate::options::ActivityOptions;
use crate::signature::{Function, Kind, conditions, inherited, is};

pub(crate) const KIND: Kind = Kind {
    what: "an activity",
    context: "ActivityContext",
    error: "ActivityError",
    method: "to make an activity of a method, put `#[activities]` on its `impl` block",
};

pub(crate) fn expand(options: TokenStream, tokens: TokenStream) -> Result<TokenStream> {
    let options = ActivityOptions::parse(options)?;
    let function: ItemFn = syn::parse2(tokens)?;
    let checked = Function::free(&function.sig, KIND)?;
    let ident = &checked.ident;
    let name = options.name.as_ref().unwrap_or(&checked.name);
    let item = item(ident, &function.vis, &function.attrs);
    let call = as_call(&function);
    let conditions = conditions(&function.attrs);
    let (input, value) = (checked.input_type(), checked.value_type());
    let (pattern, arguments) = checked.take_apart();
    Ok(quote! {
        #item
        #(#conditions)*
        impl #ident {
            #call
        }
        #(#conditions)*
        impl ::stepwell::Activity for #ident {
            type Input = #input;
            type Output = #value;
            const NAME: &'static str = #name;

            fn options() -> ::stepwell::ActivityDefaults {
                #options
            }
        }
        #(#conditions)*
        impl ::stepwell::ActivityFn for #ident {
            async fn run(
                __context: ::stepwell::ActivityContext,
                #pattern: #input,
            ) -> ::core::result::Result<#value, ::stepwell::ActivityError> {
                ::stepwell::__private::convert_error(#ident::call(__context, #(#arguments),*).await)
            }
        }
    })
}

/// The type of the function's name, and the function that makes a value of it.
pub(crate) fn item(ident: &Ident, visibility: &Visibility, attributes: &[Attribute]) -> TokenStream {
    let (inherited, conditions) = (inherited(attributes), conditions(attributes));
    quote! {
        #(#inherited)*
        #[allow(non_camel_case_types, dead_code)]
        #[derive(::core::clone::Clone, ::core::marker::Copy, ::core::fmt::Debug)]
        #visibility struct #ident {}

        #(#conditions)*
        #[doc(hidden)]
        #[allow(dead_code)]
        #[must_use]
        #visibility fn #ident() -> #ident {
            #ident {}
        }
    }
}

/// The user's function under the name `call`.
pub(crate) fn as_call(function: &ItemFn) -> TokenStream {
    let ItemFn { attrs, vis, sig, block, .. } = function;
    let attributes = attrs.iter().filter(|attribute| !is(attribute, "doc") && !is(attribute, "cfg"));
    let mut signature = sig.clone();
    signature.ident = format_ident!("call", span = sig.ident.span());
    let doc = format!("Calls the function [`{}`] itself, without a worker.", sig.ident);
    quote! {
        #[doc = #doc]
        #(#attributes)*
        #vis #signature #block
    }
}
