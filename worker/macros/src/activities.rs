//! `#[activities]` on an `impl` block.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, ImplItem, ImplItemFn, ItemImpl, Meta, Path, Result, Type};

use crate::activity::{KIND, item};
use crate::options::ActivityOptions;
use crate::signature::{Function, conditions, is, without_self};

pub(crate) fn expand(options: TokenStream, tokens: TokenStream) -> Result<TokenStream> {
    if !options.is_empty() {
        return Err(Error::new_spanned(
            options,
            "`#[activities]` takes no options; give them to `#[activity(…)]` on the methods",
        ));
    }
    let mut block: ItemImpl = syn::parse2(tokens)?;
    check(&block)?;
    let self_type = (*block.self_ty).clone();
    let mut items = Vec::new();
    let mut registrations = Vec::new();
    for method in block.items.iter_mut().filter_map(as_method) {
        let Some(place) = method.attrs.iter().position(|attribute| is(attribute, "activity")) else {
            continue;
        };
        let attribute = method.attrs.remove(place);
        let options = match attribute.meta {
            Meta::Path(_) => TokenStream::new(),
            Meta::List(list) => list.tokens,
            Meta::NameValue(meta) => {
                return Err(Error::new_spanned(meta, "options stand in parentheses: `#[activity(…)]`"));
            }
        };
        let (item, registration) = expand_method(method, ActivityOptions::parse(options)?, &self_type)?;
        items.push(item);
        registrations.push(registration);
    }
    if registrations.is_empty() {
        let message = "no method has `#[activity]`; put it on those that are activities";
        return Err(Error::new_spanned(&self_type, message));
    }
    Ok(quote! {
        #block
        #(#items)*
        impl ::stepwell::ActivitySet for #self_type {
            fn activities(self: ::std::sync::Arc<Self>) -> ::std::vec::Vec<::stepwell::ActivityCode> {
                let mut __codes = ::std::vec::Vec::new();
                #(#registrations)*
                __codes
            }
        }
    })
}

fn check(block: &ItemImpl) -> Result<()> {
    let generics = &block.generics;
    if !generics.params.is_empty() || generics.where_clause.is_some() {
        let message = "an `impl` with `#[activities]` cannot be generic: activities are found by their names. \
                       Use a concrete type, or a field of type `Arc<dyn Trait>`";
        return Err(Error::new_spanned(generics, message));
    }
    if let Some((path, _)) = &block.trait_ {
        let path: &Path = path;
        return Err(Error::new_spanned(
            path,
            "`#[activities]` belongs on the type's own `impl` block, not a trait's",
        ));
    }
    Ok(())
}

fn as_method(item: &mut ImplItem) -> Option<&mut ImplItemFn> {
    if let ImplItem::Fn(method) = item { Some(method) } else { None }
}

/// The item beside the block, and the statement that registers the method.
fn expand_method(
    method: &ImplItemFn,
    options: ActivityOptions,
    self_type: &Type,
) -> Result<(TokenStream, TokenStream)> {
    let checked = Function::method(&method.sig, KIND)?;
    let ident = &checked.ident;
    let name = options.name.as_ref().unwrap_or(&checked.name);
    let conditions = conditions(&method.attrs);
    let input = without_self(checked.input_type(), self_type);
    let value = without_self(checked.value_type(), self_type);
    let (pattern, arguments) = checked.take_apart();
    let item = item(ident, &method.vis, &method.attrs);
    let item = quote! {
        #item
        #(#conditions)*
        impl ::stepwell::Activity for #ident {
            type Input = #input;
            type Output = #value;
            const NAME: &'static str = #name;

            fn options() -> ::stepwell::ActivityDefaults {
                #options
            }
        }
    };
    let registration = quote! {
        #(#conditions)*
        __codes.push(::stepwell::ActivityCode::of_method::<#ident, Self, _, _>(
            &self,
            |__this, __context, #pattern: #input| async move {
                ::stepwell::__private::convert_error(
                    <#self_type>::#ident(&__this, __context, #(#arguments),*).await,
                )
            },
        ));
    };
    Ok((item, registration))
}
